"""Table 2, AIM-MPCC (NS): `table2_aim_shared.py` with an encoder that shares nothing with the discriminator.

Published, over five runs: IS 8.24 +- 0.07, FID 21.55 +- 1.47, MSE 1.52 +- 0.84 in 1e-3; no clusters, no accuracy.
python launch.py --config configs/tables/table2_aim_not_shared.py --workdir runs/table2_aim_not_shared
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper.
"""

from configs.tables import table2_aim_shared


def get_config():
    """Args: none. Returns the configuration."""
    config = table2_aim_shared.get_config()
    config.model.share_blocks = False
    return config
