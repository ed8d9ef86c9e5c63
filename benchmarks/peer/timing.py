"""The process in which the peer runs: python -m benchmarks.peer.timing, driven over a pipe.

One timed iteration is what training would do: make float images of bytes, draw the noise, update everything. The
images lie on the device already, as ours do.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peer.iteration import Peer
from benchmarks.peer.pipe import serve
from benchmarks.peer.settings import Settings, parse_variant

WARM_UP = 3


def set_precision(precision: str, device: torch.device) -> None:
    """Says how float32 matmuls and convolutions are computed in this process; tf32 needs CUDA."""
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"the variant tf32 needs a CUDA device, not {device}; leave it out.")
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True


class Loop:
    """Iterations on fixed bytes with new noise, as one CUDA graph if the variant says so."""

    def __init__(self, peer: Peer):
        self.peer, settings, device = peer, peer.settings, peer.device
        steps = settings.discriminator_steps + 1 + settings.encoder_steps
        shape = (settings.discriminator_steps, settings.batch_size, settings.image_channels)
        pixels = torch.randint(0, 256, (*shape, settings.resolution, settings.resolution), dtype=torch.uint8)
        self.images = pixels.to(device)
        self.y = torch.empty((steps, settings.batch_size), dtype=torch.int64, device=device)
        self.eps = torch.empty((*self.y.shape, settings.latent_dim), device=device)
        self.graph = None

    def _update(self):
        self.peer.update(self.images.float() / 127.5 - 1.0, self.y, self.eps)

    def iterate(self) -> None:
        """One iteration; on CUDA it returns before it is done."""
        self.y.random_(0, self.peer.settings.num_clusters)
        self.eps.normal_()
        if self.graph is None:
            self._update()
        else:
            self.graph.replay()
        self.peer.update_average()

    def _capture(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.iterate()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):  # where the gradients were accumulated before, too
            self._update()
        self.graph = graph

    def warm_up(self) -> float:
        """Compiles, tunes and captures; returns its seconds."""
        start = time.perf_counter()
        if self.peer.variant.graph:
            self._capture()
        # The first iteration in eager mode reaches the state of all later ones; a compiled one compiles in it.
        weight = next(self.peer.generator.parameters()).detach()
        before = weight.clone()
        self.iterate()
        self.wait()
        if torch.equal(weight, before) or not bool(weight.isfinite().all()):
            raise RuntimeError("an iteration left the generator as it was, or not finite: nothing to be timed.")
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device is done."""
        if self.peer.device.type == "cuda":
            torch.cuda.synchronize()

    def run(self, iterations: int) -> float:
        """Returns the seconds of all iterations together."""
        self.wait()
        start = time.perf_counter()
        for _ in range(iterations):
            self.iterate()
        self.wait()
        return time.perf_counter() - start


def prepare(message: dict[str, Any]) -> tuple[dict[str, Any], Callable[[int], float]]:
    """From {"settings": ..., "variant": ...} to facts and the function that runs iterations."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variant = parse_variant(message["variant"])
    set_precision(variant.precision, device)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    loop = Loop(Peer(Settings(**message["settings"]), variant, device, torch.Generator().manual_seed(0)))
    facts = {"warm_up": loop.warm_up(), "versions": {"torch": torch.__version__}, "device": "cpu"}
    if device.type == "cuda":
        facts |= {"device": torch.cuda.get_device_name(), "peak_bytes": torch.cuda.max_memory_allocated()}
        facts["versions"] |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return facts, loop.run


if __name__ == "__main__":
    serve(prepare)
