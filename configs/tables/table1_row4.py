"""Table 1, row 4: E_steps = 4, eta_p = 4e-4, on CIFAR-10's training split.

Published, over at least three runs: accuracy 52.58 +- 5.30 %, IS 9.44 +- 0.06, FID 6.55 +- 0.33,
MSE 0.48 +- 0.22 in 1e-3.
python launch.py --config configs/tables/table1_row4.py --workdir runs/table1_row4
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper.
"""

from configs.tables import table1_row5


def get_config():
    """Args: none. Returns the configuration."""
    config = table1_row5.get_config()
    config.training.encoder_steps = 4
    config.training.prior_learning_rate = 4e-4
    return config
