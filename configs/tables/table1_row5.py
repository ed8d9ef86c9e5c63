"""Table 1, row 5: E_steps = 4, eta_p = 6e-4, on CIFAR-10's training split; also MPCC (S) of table 2 and table 3 (a).

Published, over five runs: accuracy 61.99 +- 4.96 %, IS 9.49 +- 0.15, FID 6.59 +- 0.45, MSE 1.04 +- 1.03 in 1e-3.
python launch.py --config configs/tables/table1_row5.py --workdir runs/table1_row5
The authors report 12 to 24 hours on one RTX 2080 Ti for the runs of the paper.
"""

from configs import cifar10


def get_config():
    """Args: none. Returns the configuration."""
    config = cifar10.get_config()
    config.data.split = "train"
    config.training.encoder_steps = 4
    config.training.prior_learning_rate = 6e-4
    return config
