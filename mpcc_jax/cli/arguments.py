"""The subcommands, the flags of each, and reading them. Defaults stand in the signatures of what is called."""

import argparse
from typing import Any, NamedTuple

from mpcc_jax.errors import InputError, program

USAGE = f"""\
Trains MPCC, and uses what was trained.

  {program()} train digits [--config.FIELD=VALUE ...]    trains into runs/digits, or goes on there
  {program()} SUBCOMMAND [FLAGS]

Subcommands, train if none is given; each lists its flags by --help:
"""

# By flag: its type, or the allowed words; and what it says.
FLAGS = {
    "config": (str, "experiment: the name of one that is shipped, or a Python file"),
    "workdir": (str, "folder of the run, or a model that comes with mpcc_jax; train: runs/NAME_OF_CONFIG otherwise"),
    "resume": (("auto", "override"), "a run goes on where it stopped; override: with another configuration too"),
    "init_from": (str, "folder or checkpoint of another run: a new run starts from its weights"),
    "estimate": (bool, "measure by the first calls what the run will cost, and train no further"),
    "coordinator": (str, "HOST:PORT of process 0, for a run of several processes"),
    "num_processes": (int, "how many processes there are"),
    "process_id": (int, "which of them this is, from 0"),
    "coordinator_timeout": (int, "seconds that processes wait for each other at the start; 300 otherwise"),
    "checkpoint": (int, "iteration of the checkpoint to use; the newest otherwise"),
    "seed": (int, "which seed of a run of several"),
    "statistics": (("standing", "running", "batch"), "of the generator's batch norm; as configured otherwise"),
    "batch_size": (int, "images per call of the trained networks; 100 otherwise"),
    "data_dir": (str, "where the data is, if not where it was: of TFDS, or the folder or file of images"),
    "num_images": (int, "generate: how many, 64 otherwise; evaluate, report: how many real images, all otherwise"),
    "inception": (str, "weights of the FID Inception, download, or none; MPCC_JAX_INCEPTION or the cache otherwise"),
    "resize": (("tf1", "pytorch_fid"), "to Inception's 299 pixels, as TTUR (tf1, the default) or pytorch-fid do"),
    "reference": (str, "statistics to compare with, ours or published; those of the run's data otherwise"),
    "num_samples": (int, "generated images for FID; 50000 otherwise"),
    "images": (str, "a folder, a picture, or an .npz with images"),
    "out": (str, "what to write; its ending may say how"),
    "skip_bad": (bool, "leave out files that cannot be read"),
    "copy_to": (str, "a new folder that gets a folder of pictures for each cluster"),
    "cluster": (int, "from one cluster; from all otherwise"),
    "truncation": (float, "factor on the deviation from a cluster's mean, 1 otherwise; less is more typical"),
    "key": (int, "seed of the draws; 0 otherwise"),
    "released_dir": (str, "the authors' G*.pth, D*.pth, E*.pth, Prior*.pth and G_ema*.pth, or the like"),
    "iteration": (int, "how long the weights have been trained; 0 otherwise"),
    "format": (("npz", "pth", "safetensors"), "of the files; npz otherwise, and pth needs PyTorch"),
}
AT_LEAST = {"coordinator_timeout": 1, "batch_size": 1, "num_images": 0, "iteration": 0, "key": 0}
PARAMETERS = {"checkpoint": "iteration", "coordinator_timeout": "timeout", "format": "file_format"}  # if not the flag


class Command(NamedTuple):
    """A subcommand; `positions` are flags that may be given by position, and `required` those that have to be given."""

    help: str
    positions: tuple[str, ...]
    required: tuple[str, ...]
    flags: tuple[str, ...]


RUN, IMAGES, CONFIG = ("workdir",), ("workdir", "images"), ("config",)
MODEL = ("checkpoint", "seed", "statistics", "batch_size")
REAL = ("data_dir", "num_images")
FID = ("inception", "resize")
MEASUREMENT = (*FID, "reference", "num_samples")
PROCESSES = ("coordinator", "num_processes", "process_id", "coordinator_timeout")
COMMANDS = {
    "train": Command(
        "train, score and draw", CONFIG, CONFIG, ("workdir", "estimate", "resume", "init_from", *PROCESSES)
    ),
    "prepare": Command("download and prepare the data, once", CONFIG, CONFIG, ()),
    "evaluate": Command("score a trained model", RUN, RUN, (*REAL, *MEASUREMENT, *MODEL)),
    "predict": Command("clusters of pictures, as CSV", IMAGES, IMAGES, ("out", "copy_to", "skip_bad", *MODEL)),
    "generate": Command("new pictures", RUN, RUN, ("num_images", "cluster", "truncation", "key", "out", *MODEL)),
    "reconstruct": Command("pictures encoded and decoded", IMAGES, IMAGES, ("out", "skip_bad", *MODEL)),
    "report": Command("a page about a trained model", RUN, RUN, (*REAL, *MODEL)),
    "statistics": Command("the reference of FID and KID, once", CONFIG, CONFIG, ("out", *FID)),
    "export": Command("one seed of a run of several as a run of its own", RUN, (*RUN, "seed", "out"), ()),
    "export-model": Command("a trained model to use elsewhere", RUN, (*RUN, "out"), ("checkpoint", "seed")),
    "import-weights": Command("the authors' weights as a run", (), (*CONFIG, "released_dir", *RUN), ("iteration",)),
    "export-weights": Command("a run as the authors' weights", RUN, (*RUN, "out"), ("format", "checkpoint", "seed")),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(f"{self.prog}: {message} (its flags: {program()} {self.prog} --help).")


def _build_parser(name: str) -> _Parser:
    command = COMMANDS[name]
    positions = "".join(f"[{position.upper()}] " for position in command.positions)
    usage = f"{name} {positions}[FLAGS]" + " [--config.FIELD=VALUE ...]" * ("config" in command.required)
    parser = _Parser(name, usage, command.help, allow_abbrev=False)
    for flag in dict.fromkeys(command.required + command.flags):
        kind, text = FLAGS[flag]
        options = {"choices": kind} if isinstance(kind, tuple) else {"type": kind}
        options = {"action": "store_const", "const": True} if kind is bool else options
        parser.add_argument(f"--{flag}", help=text, **options)
    return parser


def parse_arguments(argv: list[str]) -> tuple[str, dict[str, Any]]:
    """Reads a command line: the subcommand, and the keyword arguments of its function.

    Raises:
      InputError: if a flag is not one of the subcommand, cannot have its value, or is missing.
    """
    for mode in [word for word in argv if word.startswith("--mode=")]:  # how subcommands were named before
        argv.remove(mode)
        argv.insert(0, mode.removeprefix("--mode=").replace("_released", "-weights"))
    if argv[:1] in (["-h"], ["--help"]):
        print(USAGE, *(f"  {name:<16}{command.help}\n" for name, command in COMMANDS.items()), sep="", end="")
        raise SystemExit
    name, words = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("train", argv)
    if name not in COMMANDS:
        raise InputError(f"there is no subcommand {name!r}; allowed: {', '.join(COMMANDS)}.")
    command, parser = COMMANDS[name], _build_parser(name)
    namespace, words = parser.parse_known_args(words)
    values = {flag: value for flag, value in vars(namespace).items() if value is not None}
    overrides = [word for word in words if word.startswith("--config.") and "config" in command.required]
    words = [word for word in words if word not in overrides]
    free = [flag for flag in command.positions if flag not in values]
    if unexpected := [word for word in words if word.startswith("-")] or words[len(free) :]:
        parser.error(f"{' '.join(unexpected)} is not expected")
    values.update(zip(free, words, strict=False))
    for flag in command.required:
        if flag not in values:
            parser.error(f"--{flag} is missing: {FLAGS[flag][1]}")
    for flag, value in values.items():
        if value == "":
            parser.error(f"--{flag} is empty; is a variable not set?")
    for flag, least in AT_LEAST.items():
        if values.get(flag, least) < least:
            parser.error(f"--{flag} is {values[flag]}; allowed: {least} or more")
    arguments = {PARAMETERS.get(flag, flag): value for flag, value in values.items()}
    return name, arguments | ({"overrides": overrides} if overrides else {})
