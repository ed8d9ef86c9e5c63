"""Table 1, row 3: E_steps = 4, eta_p = 2e-4, on CIFAR-10's training split.

Published, over at least three runs: accuracy 38.27 +- 2.46 %, IS 9.25 +- 0.09, FID 7.50 +- 0.43,
MSE 0.331 +- 0.09 in 1e-3.
python launch.py --config configs/tables/table1_row3.py --workdir runs/table1_row3
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper.
"""

from configs.tables import table1_row5


def get_config():
    """Args: none. Returns the configuration."""
    config = table1_row5.get_config()
    config.training.encoder_steps = 4
    config.training.prior_learning_rate = 2e-4
    return config
