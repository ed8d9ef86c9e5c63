"""Trains MPCC: python launch.py --config configs/digits.py --workdir runs/digits [--config.FIELD=VALUE ...].

Prepares the data that a training needs, once: python launch.py --mode=prepare --config configs/mnist.py
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment in configs/.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Where results, logs and pictures go.")
RESUME = flags.DEFINE_enum(
    "resume",
    "auto",
    ["auto", "override"],
    "A run in --workdir goes on where it stopped; override lets it go on with another configuration.",
)
MODE = flags.DEFINE_enum("mode", "train", ["train", "prepare"], "Train, or download and prepare the data once.")


def main(argv):
    """Runs what the flags say; mistakes of the user end in one line, not in a traceback."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    # TFDS recommends OpenCV at the first picture; Pillow decodes the same pixels.
    logging.get_absl_logger().addFilter(lambda record: "OpenCV" not in record.getMessage())
    from mpcc_jax.config import ConfigError
    from mpcc_jax.data import DataError
    from mpcc_jax.experiment import prepare, train
    from mpcc_jax.training.checkpoints import CheckpointError
    from mpcc_jax.training.loop import NonFiniteError
    from mpcc_jax.workdir import WorkdirError

    filename = config_flags.get_config_filename(flags.FLAGS["config"])
    if not pathlib.Path(filename).is_file():
        sys.exit(f"error: --config is {filename!r}, which is not a file; the experiments are in configs/.")
    try:
        if MODE.value == "prepare":
            prepare(CONFIG.value)
        else:
            train(CONFIG.value, WORKDIR.value, override=RESUME.value == "override")
    except (ConfigError, DataError, WorkdirError) as error:
        sys.exit(f"error: {error}")
    except (CheckpointError, NonFiniteError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)


def parse_flags(argv):
    """Absl's parser, with unknown configuration fields reported like any other wrong flag.

    Args:
      argv: the command line.

    Returns:
      What is left of it.
    """
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]
        sys.exit(f"error: the configuration has no field {' '.join(str(error.args[0]).split())}")
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    flags.register_multi_flags_validator(
        ["mode", "workdir"],
        lambda values: values["mode"] != "train" or bool(values["workdir"]),
        "--workdir must say where the results of training go.",
    )
    app.run(main, flags_parser=parse_flags)
