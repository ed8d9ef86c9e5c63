"""Table 1, row 1: E_steps = 1, eta_p = 2e-4, on CIFAR-10's training split.

Published, over at least three runs: accuracy 41.31 +- 5.74 %, IS 8.82 +- 0.07, FID 11.38 +- 0.23,
MSE 1.34 +- 0.96 in 1e-3.
python launch.py --config configs/tables/table1_row1.py --workdir runs/table1_row1
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper.
"""

from configs.tables import table1_row5


def get_config():
    """Args: none. Returns the configuration."""
    config = table1_row5.get_config()
    config.training.encoder_steps = 1
    config.training.prior_learning_rate = 2e-4
    return config
