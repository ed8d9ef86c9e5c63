"""Table 2, AIM-MPCC (S): a standard normal prior, everything else as in row 5 of table 1.

Published, over five runs: IS 9.09 +- 0.04, FID 10.42 +- 0.36, MSE 1.64 +- 1.42 in 1e-3; no clusters, no accuracy.
python launch.py --config configs/tables/table2_aim_shared.py --workdir runs/table2_aim_shared
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper. "The same architecture and parameter
settings" (section 5.5): the generator keeps Embed(y), with a single y, a constant that it learns.
"""

from configs.tables import table1_row5


def get_config():
    """Args: none. Returns the configuration."""
    config = table1_row5.get_config()
    config.prior.kind = "standard_normal"
    config.model.num_clusters = 1
    return config
