"""Trains MPCC, and uses what was trained.

python launch.py --config configs/digits.py --workdir runs/digits [--config.FIELD=VALUE ...]
python launch.py --mode=prepare --config configs/mnist.py            the data that a training needs, once
python launch.py --mode=evaluate --workdir runs/digits               scores; with Inception weights FID, KID and IS
python launch.py --mode=report --workdir runs/digits                 report.html
python launch.py --mode=predict --workdir runs/digits --images DIR   clusters of pictures, as CSV
python launch.py --mode=generate --workdir runs/digits --cluster=3   new images
python launch.py --mode=reconstruct --workdir runs/digits --images DIR
python launch.py --mode=statistics --config configs/cifar10.py       the reference of FID and KID, once
python launch.py --mode=export --workdir runs/five --seed=3 --out=runs/seed3
python launch.py --mode=export_state --workdir runs/mnist --out=state    all of a run in small files, for --init_from
python launch.py --mode=import_released --released_dir DIR --workdir runs/theirs    the authors' weights as a run
python launch.py --mode=export_released --workdir runs/mnist --out=weights --format=pth
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
    "init_from",
    None,
    "Working directory or checkpoint of another run: a new run starts from its weights. Or what export_state wrote: it "
    "goes on from there.",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for a run of several processes.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
COORDINATOR_TIMEOUT = flags.DEFINE_integer(
    "coordinator_timeout", 300, "Seconds that processes wait for each other at the start.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", None, "Which seed of a run of several.")
OUT = flags.DEFINE_string("out", None, "What to write; its ending may say how. export: a new working directory.")
CHECKPOINT = flags.DEFINE_integer("checkpoint", None, "Iteration of the checkpoint to use; the newest otherwise.")
IMAGES = flags.DEFINE_string("images", None, "predict, reconstruct: a folder, a picture, or an .npz with images.")
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "predict, reconstruct: leave out files that cannot be read.")
COPY_TO = flags.DEFINE_string("copy_to", None, "predict: a new folder that gets a folder of pictures for each cluster.")
NUM_IMAGES = flags.DEFINE_integer(
    "num_images",
    None,
    "generate: how many, 64 otherwise; evaluate, report: how many real images, all otherwise.",
    lower_bound=0,
)
CLUSTER = flags.DEFINE_integer("cluster", None, "generate: from one cluster; from all otherwise.")
TRUNCATION = flags.DEFINE_float(
    "truncation", 1.0, "generate: factor on the deviation from a cluster's mean; less is more typical and less varied."
)
KEY = flags.DEFINE_integer("key", 0, "generate: seed of the draws.")
STATISTICS = flags.DEFINE_enum(
    "statistics", None, ["standing", "running", "batch"], "Of the generator's batch norm; as configured otherwise."
)
INCEPTION = flags.DEFINE_string(
    "inception",
    None,
    "evaluate, statistics: weights of the FID Inception (.pth, .safetensors or .npz), or download, or none; otherwise "
    "MPCC_JAX_INCEPTION or the cache.",
)
RESIZE = flags.DEFINE_enum(
    "resize",
    "tf1",
    ["tf1", "pytorch_fid"],
    "evaluate, statistics: to Inception's 299 pixels, as TTUR or pytorch-fid do.",
)
REFERENCE = flags.DEFINE_string(
    "reference", None, "evaluate: statistics to compare with, ours or published; those of the run's data otherwise."
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 50_000, "evaluate: generated images for FID.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "evaluate, report: where TFDS data is, if not where it was.")
RELEASED_DIR = flags.DEFINE_string(
    "released_dir",
    None,
    "import_released: the authors' G*.pth, D*.pth, E*.pth, Prior*.pth and G_ema*.pth, or the like.",
)
DATA_NAME = flags.DEFINE_string(
    "data_name", None, "import_released: as config.data.name; otherwise that of --config, or the paper's data."
)
CONDITIONAL = flags.DEFINE_bool(
    "conditional", None, "import_released: whether D projects on y; otherwise told from its embedding."
)
ITERATION = flags.DEFINE_integer(
    "iteration", 0, "import_released: how long the weights have been trained.", lower_bound=0
)
FORMAT = flags.DEFINE_enum("format", "npz", ["npz", "pth", "safetensors"], "export_released: pth needs PyTorch.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images per call of the trained networks.", lower_bound=1)
MODES = {
    "train": "train",
    "prepare": "download and prepare the data once",
    "evaluate": "score a trained model",
    "report": "a page about it",
    "predict": "clusters of pictures",
    "generate": "new pictures",
    "reconstruct": "pictures encoded and decoded",
    "statistics": "the reference of FID and KID, once",
    "export": "one seed of a run of several as a run of its own",
    "import_released": "the authors' weights as a run",
    "export_released": "a run as the authors' weights",
}
NEED_CONFIG = ("train", "prepare", "statistics")
TRANSFERS = ("export", "import_released", "export_released")
EXPORTS = ("export", "export_released")
NEED_RUN = (*EXPORTS, "evaluate", "report", "predict", "generate", "reconstruct")
MODE = flags.DEFINE_enum("mode", "train", list(MODES), "; ".join(f"{mode}: {text}" for mode, text in MODES.items()))


def transfer(mode):
    """Moves weights and states between runs and files.

    Args:
      mode: one of `TRANSFERS`.
    """
    from mpcc_jax.released import export_released, import_released
    from mpcc_jax.training.export_seed import export_seed

    workdir, out, seed, iteration = WORKDIR.value, OUT.value, SEED.value, CHECKPOINT.value
    if mode == "export":
        export_seed(workdir, seed, out)
    elif mode == "export_released":
        print(export_released(workdir, out, FORMAT.value, iteration=iteration, seed=seed))
    else:
        print(import_released(RELEASED_DIR.value, workdir, CONFIG.value, ITERATION.value))


def use_trained(mode):
    """Runs a command on a trained model.

    Args:
      mode: one of `MODES`.
    """
    from mpcc_jax.cli import commands

    workdir, out = WORKDIR.value, OUT.value
    model = {
        "iteration": CHECKPOINT.value,
        "seed": SEED.value,
        "statistics": STATISTICS.value,
        "batch_size": BATCH_SIZE.value,
    }
    data = {"data_dir": DATA_DIR.value, "num_images": NUM_IMAGES.value or 0}
    inception = {"inception": INCEPTION.value, "resize": RESIZE.value}
    if mode == "statistics":
        commands.statistics(CONFIG.value, out=out, **inception)
    elif mode == "evaluate":
        generation = {**inception, "reference": REFERENCE.value, "num_samples": NUM_SAMPLES.value}
        commands.evaluate(workdir, generation=generation, **data, **model)
    elif mode == "report":
        commands.report(workdir, **data, **model)
    elif mode == "predict":
        commands.predict(workdir, IMAGES.value, out, COPY_TO.value, SKIP_BAD.value, **model)
    elif mode == "reconstruct":
        commands.reconstruct(workdir, IMAGES.value, out, SKIP_BAD.value, **model)
    else:
        count = 64 if NUM_IMAGES.value is None else NUM_IMAGES.value
        commands.generate(workdir, count, CLUSTER.value, TRUNCATION.value, KEY.value, out, **model)


def main(argv):
    """Runs what the flags say; mistakes of the user end in one line, not in a traceback."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    # TFDS recommends OpenCV, though Pillow decodes the same pixels; orbax misses a file that it did not write itself.
    noise = ("OpenCV", "Metadata file does not exist")
    logging.get_absl_logger().addFilter(lambda record: not any(text in record.getMessage() for text in noise))
    from mpcc_jax.errors import MPCCError
    from mpcc_jax.training.distributed import connect
    from mpcc_jax.training.train import prepare, train

    if MODE.value in NEED_CONFIG or (MODE.value == "import_released" and flags.FLAGS["config"].present):
        filename = config_flags.get_config_filename(flags.FLAGS["config"])
        if not filename or not pathlib.Path(filename).is_file():
            sys.exit(f"error: --config is {filename!r}, which is not a file; the experiments are in configs/.")
    try:
        if MODE.value in TRANSFERS:
            transfer(MODE.value)
        elif MODE.value == "prepare":
            prepare(CONFIG.value)
        elif MODE.value != "train":
            use_trained(MODE.value)
        else:
            connect(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, COORDINATOR_TIMEOUT.value)
            train(CONFIG.value, WORKDIR.value, override=RESUME.value == "override", init_from=INIT_FROM.value)
    except MPCCError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


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
    require("config", NEED_CONFIG, "--config must say which experiment, one of configs/.")
    require("workdir", ("train",), "--workdir must say where the results of training go.")
    require("workdir", NEED_RUN, "--workdir must say which run.")
    require("images", ("predict", "reconstruct"), "--images must be a folder, a picture or an .npz with images.")
    require("seed", ("export",), "--seed must say which of the run's seeds.")
    require("out", EXPORTS, "--out must be a new folder: of export a working directory, otherwise one for files.")
    require("workdir", ("import_released",), "--workdir must be a new working directory.")
    require("released_dir", ("import_released",), "--released_dir must be the folder of the authors' weights.")
    app.run(main, flags_parser=parse_flags)
