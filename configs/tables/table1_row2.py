"""Table 1, row 2: E_steps = 2, eta_p = 2e-4, on CIFAR-10's training split.

Published, over at least three runs: accuracy 38.67 +- 3.52 %, IS 9.02 +- 0.05, FID 9.66 +- 3.98,
MSE 1.01 +- 1.11 in 1e-3.
python launch.py --config configs/tables/table1_row2.py --workdir runs/table1_row2
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper.
"""

from configs.tables import table1_row5


def get_config():
    """Args: none. Returns the configuration."""
    config = table1_row5.get_config()
    config.training.encoder_steps = 2
    config.training.prior_learning_rate = 2e-4
    return config
