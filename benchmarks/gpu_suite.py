"""Everything that is to be known about our speed on one GPU, in one call of under ten minutes.

On the device machine, in the repository's root (jax, flax, optax, orbax, chex, NumPy and torch are enough):

    python3 -m benchmarks.gpu_suite --out $OUT

What comes first is needed most; what did not fit in --budget seconds is listed as "not run: out of time" and can be
had with a second call, for instance --stages peer_compiled_cifar10,peer_compiled_mnist,switches,options. Every result
is in results.jsonl as soon as it exists, and gpu.md, gpu.json and profile_NAME.json are made of them; log.txt has what
the stages printed. A folder that has results already is added to.

--tiny tries everything in minutes on a CPU, at sizes that mean nothing. The configurations come from
benchmarks/gpu_configs.json, since ml_collections may be missing; --write_configs writes it where it is not.
"""

import argparse
import os
import pathlib
import signal
import sys
import tempfile

from benchmarks.gpu.configs import write_configs
from benchmarks.gpu.plan import NO_ACCELERATOR, STAGES, function_of, run_stages
from benchmarks.gpu.report import target_table, write
from benchmarks.gpu.session import NoAcceleratorError, Session, check_device, read


def _run_stage(arguments):
    """The process of one stage. Args: arguments. Returns its exit status."""
    session = Session(arguments.stage, arguments.out, arguments.seconds, arguments.tiny, arguments.peer_python)
    try:
        check_device(session)
    except NoAcceleratorError as error:
        print(error, flush=True)
        return NO_ACCELERATOR
    function_of(arguments.stage)(session)
    return 0


def _run_all(arguments):
    """The process that starts the others. Args: arguments. Returns its exit status."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stage in hand is ended too

    def command_of(stage, seconds):
        command = [sys.executable, "-m", "benchmarks.gpu_suite", "--stage", stage, "--seconds", f"{seconds:.1f}"]
        command += ["--out", str(arguments.out), "--peer_python", arguments.peer_python]
        return command + (["--tiny"] if arguments.tiny else [])

    def after():
        write(arguments.out)

    found = run_stages(
        arguments.stages, command_of, arguments.out, arguments.budget, arguments.tiny, arguments.cache, after
    )
    # The targets again: of long output the end is what is read.
    print(write(arguments.out), *target_table(read(arguments.out)), sep="\n")
    return 0 if found else NO_ACCELERATOR


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT") or "results/gpu", help="folder")
    parser.add_argument("--budget", type=float, default=560, help="seconds for everything")
    parser.add_argument("--stages", default=",".join(STAGES), help="joined by commas, in order")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--peer_python", default=sys.executable, help="the interpreter that has torch")
    parser.add_argument(
        "--cache",
        type=pathlib.Path,
        default=pathlib.Path(tempfile.gettempdir()) / "mpcc_jax_gpu_suite",
        help="folder for compiled programs; the seconds of those found there are marked as cached",
    )
    parser.add_argument("--write_configs", type=pathlib.Path, metavar="PATH", help="writes the JSON file and ends")
    parser.add_argument("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write_configs:
        write_configs(arguments.write_configs)
        return 0
    if arguments.stage:
        return _run_stage(arguments)
    arguments.stages = arguments.stages.split(",")
    unknown = [name for name in arguments.stages if name not in STAGES]
    if unknown:
        parser.error(f"--stages has {', '.join(unknown)}; allowed, joined by commas: {', '.join(STAGES)}.")
    if not arguments.budget > 0:
        parser.error(f"--budget is {arguments.budget}; it must be a number above 0.")
    return _run_all(arguments)


if __name__ == "__main__":
    sys.exit(main())
