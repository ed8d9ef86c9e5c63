"""The PyTorch peer on the same card, in turns with ours."""

import subprocess

from benchmarks.compare import peer_settings
from benchmarks.gpu.configs import EXPERIMENTS
from benchmarks.gpu.stages import FASTEST, prepare, turn_length
from benchmarks.peer.pipe import Worker

# The most promising first: without a graph, hundreds of launches keep the card waiting.
VARIANTS = (
    "graph+bf16+channels_last",
    "graph+tf32+channels_last",
    "batched+graph+bf16+channels_last",
    "bf16+channels_last",
    "tf32+channels_last",
)
COMPILED = ("compile+graph+bf16+channels_last", "compile+bf16+channels_last")
TINY_VARIANTS = ("bf16+channels_last", "graph+bf16+channels_last")  # the second one cannot run on CPU, and says so
ROUNDS, TURN_SECONDS = 5, 0.7
FIND_TORCH = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"


def has_torch(python):
    """Args: python, an interpreter. Returns whether it has torch."""
    return subprocess.run([python, "-c", FIND_TORCH], check=False).returncode == 0


def alternate(ours, peer, rounds):
    """Turns of ours and the peer.

    Args:
      ours, peer: functions that run a turn and return iterations per second.
      rounds: how often.

    Returns:
      Iterations per second of each, and ours over the peer's, by round.
    """
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return {
        "ours": [mine for mine, _ in pairs],
        "peer": [theirs for _, theirs in pairs],
        "ratio": [mine / theirs for mine, theirs in pairs],
    }


def versus(session, name, variants, patience):
    """Ours against variants of the peer, each in a process of its own beside ours.

    Args:
      session: the `Session`.
      name: of the configuration.
      variants: of the peer, the most wanted first.
      patience: seconds that a variant has to get ready.
    """
    if not has_torch(session.peer_python):
        session.emit("peer", config=name, error=f"skipped: {session.peer_python} has no torch")
        return
    precision = FASTEST
    labels = {"config": name, "precision": precision}
    config, run = prepare(session, name, precision)
    calls = turn_length(session, run, TURN_SECONDS)
    settings = vars(peer_settings(config, EXPERIMENTS[name].image_channels))

    def our_turn():
        return calls * run.iterations / run.call(calls)

    for variant in variants:
        with session.attempt("peer", 25, **labels, variant=variant) as go:
            if not go:
                continue
            message = {"settings": settings, "variant": variant}
            limit = min(patience, max(5, session.remaining() - 5))
            worker = Worker([session.peer_python, "-m", "benchmarks.peer.timing"], message, patience=limit)
            try:
                worker.run(1)
                iterations = 1 if session.tiny else max(1, round(TURN_SECONDS / worker.run(2)))
                rounds = 2 if session.tiny else ROUNDS
                rates = alternate(our_turn, lambda: 1 / worker.run(iterations), rounds)  # noqa: B023 (called at once)
                session.emit("peer", **labels, variant=variant, **rates, facts=worker.facts)
            finally:
                worker.close()


def peer(session, name):
    """The variants that need no compiler. Args: session; name of the configuration."""
    versus(session, name, TINY_VARIANTS if session.tiny else VARIANTS, patience=60)


def peer_compiled(session, name):
    """The variants of torch.compile. Args: session; name of the configuration."""
    versus(session, name, COMPILED[:1] if session.tiny else COMPILED, patience=240)
