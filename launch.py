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
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Working directory or checkpoint of another run; a new run starts from its weights."
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for a run of several processes.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
COORDINATOR_TIMEOUT = flags.DEFINE_integer(
    "coordinator_timeout", 300, "Seconds that processes wait for each other at the start.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", None, "--mode=export: which seed of a run of several.")
OUT = flags.DEFINE_string("out", None, "--mode=export: a new working directory for it.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "prepare", "export"],
    "Train; download and prepare the data once; or make one seed of a run of several a run of its own.",
)


def main(argv):
    """Runs what the flags say; mistakes of the user end in one line, not in a traceback."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    # TFDS recommends OpenCV, though Pillow decodes the same pixels; orbax misses a file that it did not write itself.
    noise = ("OpenCV", "Metadata file does not exist")
    logging.get_absl_logger().addFilter(lambda record: not any(text in record.getMessage() for text in noise))
    from mpcc_jax.config import ConfigError
    from mpcc_jax.data import DataError
    from mpcc_jax.distributed import DistributedError, connect
    from mpcc_jax.experiment import prepare, train
    from mpcc_jax.export import export_seed
    from mpcc_jax.training.checkpoints import CheckpointError
    from mpcc_jax.training.loop import NonFiniteError
    from mpcc_jax.workdir import WorkdirError

    if MODE.value != "export":
        filename = config_flags.get_config_filename(flags.FLAGS["config"])
        if not filename or not pathlib.Path(filename).is_file():
            sys.exit(f"error: --config is {filename!r}, which is not a file; the experiments are in configs/.")
    try:
        if MODE.value == "export":
            export_seed(WORKDIR.value, SEED.value, OUT.value)
        elif MODE.value == "prepare":
            prepare(CONFIG.value)
        else:
            connect(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, COORDINATOR_TIMEOUT.value)
            train(CONFIG.value, WORKDIR.value, override=RESUME.value == "override", init_from=INIT_FROM.value)
    except (ConfigError, DataError, DistributedError, WorkdirError) as error:
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


def require(field, modes, reason):
    """Makes a flag necessary in some modes.

    Args:
      field: the flag.
      modes: in which.
      reason: what to say.
    """
    flags.register_multi_flags_validator(
        ["mode", field], lambda values: values["mode"] not in modes or values[field] is not None, reason
    )


if __name__ == "__main__":
    require("config", ("train", "prepare"), "--config must say which experiment, one of configs/.")
    require("workdir", ("train",), "--workdir must say where the results of training go.")
    require("workdir", ("export",), "--workdir must say which run.")
    require("seed", ("export",), "--seed must say which of the run's seeds.")
    require("out", ("export",), "--out must be a new working directory.")
    app.run(main, flags_parser=parse_flags)
