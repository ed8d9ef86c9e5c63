"""The floor of speed: multiply-adds and bytes of one iteration of Algorithm 1, counted from the architecture.

python -m benchmarks.flops [--config mnist ...] [--precision bfloat16] [--seconds S] [--peak TFLOPS]

"published" is the architecture of the paper's tables 5 to 7, counted plainly: a backward pass is twice a forward pass.
"rewritten" is what computes the same numbers with less: 1x1 shortcuts at the lower resolution, 3x3 + average pooling as
a 3x3 convolution of stride 2, upsampling + 3x3 as four 2x2 convolutions (bilinear with corrections at the borders, from
8x8 on), and no gradient that nobody asks for: of images in the discriminator's and the encoder's steps, of latents
where the prior has nothing to learn.

Counted are the products of convolutions and linear layers, zeros at the borders included; a multiply-add is 2 FLOP.
Left out: elementwise work, sums, and the power iterations (below 0.2 % of the rewritten count in all of configs/).
Bytes are those of convolutions, linear layers and optimizers, every array once per pass, as if elementwise work, and in
the rewritten count pooling and upsampling, were fused into them. In small networks some activations stay in the cache
from one layer to the next (50 MB on an H100), so that memory is less of a bound there.
"""

import argparse
import dataclasses
import math

import jax
from ml_collections import ConfigDict

from benchmarks.ours import image_channels_of, read_config
from benchmarks.peak import ARITHMETIC, DEVICES, peak_of, shortest, utilisation
from benchmarks.rounds import print_heading
from mpcc_jax.config import resolve_conventions
from mpcc_jax.networks.architecture import ARCHITECTURES, BOTTOM_SIZE
from mpcc_jax.networks.resampling import SMALLEST_BILINEAR

CONFIGS = ("digits", "mnist", "fashion_mnist", "omniglot100", "cifar10", "cifar20")
PARAMETER_BYTES = 4
ADAM = 7  # numbers per parameter: reads gradient, parameter and two moments, writes parameter and two moments
AVERAGE = 3  # reads parameter and average, writes the average


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module with parameters of its own, and what its forward pass takes for one image."""

    name: str  # parts joined by dots
    multiply_adds: int
    parameters: int
    inputs: int
    outputs: int
    source: str = "features"  # what it reads: features that other parameters made, "images", "latents" or "labels"


@dataclasses.dataclass(frozen=True)
class Work:
    """Multiply-adds and bytes of memory traffic; sums and multiples of it are `Work` too."""

    multiply_adds: int = 0
    bytes: int = 0

    def __add__(self, other):
        return Work(self.multiply_adds + other.multiply_adds, self.bytes + other.bytes)

    def __rmul__(self, times):
        return Work(times * self.multiply_adds, times * self.bytes)

    @property
    def flop(self):
        """Multiplications and additions."""
        return 2 * self.multiply_adds


def _table(name, parameters):
    return Layer(name, 0, parameters, 0, 0, "labels")


def _dense(name, inputs, outputs, bias=True, source="features"):
    return Layer(name, inputs * outputs, (inputs + bias) * outputs, inputs, outputs, source)


def _convolution(name, kernel, maps, sizes, products, source="features"):
    """A layer of (maps in, out), (sizes read, written), and a number of products per pair of maps."""
    (width, features), (read, written) = maps, sizes
    parameters = (kernel**2 * width + 1) * features
    return Layer(name, width * features * products, parameters, width * read**2, features * written**2, source)


def _discriminator_blocks(part, stages, size, width, channels, rewritten):
    """Layers of figure 4 (b), the output's size and width."""
    layers = []
    for i, stage in enumerate(stages):
        name, features, low = f"{part}.block{i}", stage.width * channels, size // 2 if stage.resample else size
        source = "images" if part == "trunk" and i == 0 else "features"
        written = low if rewritten else size  # pooling is fused, or follows
        if stage.resample or width != features:
            shortcut = f"{name}.conv_shortcut"
            layers.append(_convolution(shortcut, 1, (width, features), (size, written), written**2, source))
        products = 3**2 * low**2 if rewritten and stage.resample else 3**2 * size**2
        layers += [
            _convolution(f"{name}.conv1", 3, (width, features), (size, size), 3**2 * size**2, source),
            _convolution(f"{name}.conv2", 3, (features, features), (size, written), products),
        ]
        size, width = low, features
    return layers, size, width


def _upsampling_products(size, nearest):
    """Products per pair of maps of upsampling from a size and 3x3."""
    if nearest:
        return 4 * 2**2 * size**2
    if size < SMALLEST_BILINEAR:
        return 3**2 * (2 * size) ** 2
    return 4 * 2**2 * (size + 1) ** 2 + 4 * 3 * 2 * size  # one pixel beyond the image, and its four borders


def _generator_layers(config, image_channels, rewritten):
    """Layers of table 5 and figure 4 (a)."""
    plan, model = ARCHITECTURES[config.data.resolution], config.model
    nearest = resolve_conventions(config).upsampling == "nearest"
    size, width = BOTTOM_SIZE, plan.input_width * model.channels
    chunk = model.latent_dim // (len(plan.generator) + 1) if model.conditioning == "split" else model.latent_dim

    def norm(name, features):
        if model.conditioning == "conditional":
            return [_table(f"{name}.{part}", model.num_clusters * features) for part in ("gain", "bias")]
        # The label's embedding, of J numbers, beside the latents.
        return [_dense(f"{name}.{part}", model.latent_dim + chunk, features, bias=False) for part in ("gain", "bias")]

    layers = [_dense("generator.linear", chunk, width * size**2, source="latents")]
    if model.conditioning != "conditional":
        layers.append(_table("generator.shared_embed", model.num_clusters * model.latent_dim))
    for i, stage in enumerate(plan.generator):
        name, features, high = f"generator.block{i}", stage.width * model.channels, size * (1 + stage.resample)
        read = size if rewritten else high  # upsampling is fused, or comes first
        if stage.resample or width != features:
            layers.append(_convolution(f"{name}.conv_shortcut", 1, (width, features), (read, read), read**2))
        products = _upsampling_products(size, nearest) if rewritten and stage.resample else 3**2 * high**2
        layers += norm(f"{name}.norm1", width)
        layers.append(_convolution(f"{name}.conv1", 3, (width, features), (read, high), products))
        layers += norm(f"{name}.norm2", features)
        layers.append(_convolution(f"{name}.conv2", 3, (features, features), (high, high), 3**2 * high**2))
        size, width = high, features
    layers.append(_table("generator.output_norm", 2 * width))
    layers.append(_convolution("generator.output_conv", 3, (width, image_channels), (size, size), 3**2 * size**2))
    return layers


def network_layers(config: ConfigDict, image_channels: int, rewritten: bool) -> dict[str, list[Layer]]:
    """Layers of "generator", "discriminator" and "encoder" (each with its trunk), and "prior"."""
    plan, model, resolution = ARCHITECTURES[config.data.resolution], config.model, config.data.resolution
    latent_dim, clusters = model.latent_dim, model.num_clusters

    def blocks(part, size, width):
        return _discriminator_blocks(part, getattr(plan, part), size, width, model.channels, rewritten)

    trunk, *shape = blocks("trunk", resolution, image_channels)
    discriminator, _, width = blocks("discriminator", *shape)
    discriminator.append(_dense("discriminator.linear", width, 1))
    if config.training.conditional:
        discriminator.append(Layer("discriminator.embed", width, clusters * width, width, 1))
    encoder, size, width = blocks("encoder", *shape)
    flat = size**2 * width
    for name in ("encoder.mean", "encoder.log_var"):
        encoder += [_dense(f"{name}1", flat, flat // 2), _dense(f"{name}2", flat // 2, latent_dim)]
    mixture = [_table("prior", 2 * clusters * latent_dim)]
    return {
        "generator": _generator_layers(config, image_channels, rewritten),
        "discriminator": trunk + discriminator,
        "encoder": trunk + encoder,
        "prior": mixture if config.prior.family != "standard_normal" else [],
    }


def count_iteration(
    config: ConfigDict, image_channels: int, rewritten: bool, activation_bytes: int = 4
) -> dict[str, Work]:
    """Counts one iteration of Algorithm 1: "discriminator", "generator" (with the moving average), "encoder".

    Args:
        config: validated.
        image_channels: 1 or 3.
        rewritten: whether exact rewrites and gradients that nobody asks for are taken off.
        activation_bytes: of one activation; parameters, their gradients and moments have 4.
    """
    networks, training = network_layers(config, image_channels, rewritten), config.training
    batch, everything = training.batch_size, ("features", "images", "latents")
    inner = ("features",) if rewritten else everything
    learned = everything if networks["prior"] or not rewritten else inner

    def run(name, images, kernel_gradients=False, gradients_of=()):
        total = Work()
        for layer in networks[name]:
            passes = 1 + kernel_gradients + (layer.source in gradients_of)
            # Three arrays in every pass: input, kernel and output, or the gradient of one or two of them instead.
            traffic = activation_bytes * images * (layer.inputs + layer.outputs) + PARAMETER_BYTES * layer.parameters
            total += passes * Work(images * layer.multiply_adds, traffic)
        return total

    def update(name, numbers=ADAM):
        return Work(0, numbers * PARAMETER_BYTES * sum(layer.parameters for layer in networks[name]))

    fakes = run("generator", batch)
    critic = fakes + run("discriminator", 2 * batch, True, inner) + update("discriminator")
    generated = run("generator", batch, True, learned) + run("discriminator", batch, False, everything)
    encoded = fakes + run("encoder", batch, True, inner) + update("encoder")
    return {
        "discriminator": training.discriminator_steps * critic,
        "generator": generated + update("generator") + update("prior") + update("generator", AVERAGE),
        "encoder": training.encoder_steps * encoded + update("prior"),
    }


def count_flop(config: ConfigDict, image_channels: int) -> dict[str, int]:
    """FLOP of one iteration, "published" and "rewritten"."""
    return {
        name: sum(count_iteration(config, image_channels, rewritten).values(), Work()).flop
        for name, rewritten in (("published", False), ("rewritten", True))
    }


def _print_floor(counts, limits):
    """Prints published and rewritten work by phase, and what (FLOP/s, bytes/s) by name allow; returns the totals."""
    heading = f"{'GFLOP':>12}{'share':>8}{'GB':>10}{'FLOP/byte':>11}"
    print(f"{'':14}{'published':>41}{'rewritten':>41}\n{'':14}{heading}{heading}")
    totals = [sum(works.values(), Work()) for works in counts]
    for phase in (*counts[0], "iteration"):
        line = f"{phase:14}"
        for total, works in zip(totals, counts, strict=True):
            work = works.get(phase, total)
            line += f"{1e-9 * work.flop:12.4f}{work.flop / total.flop:8.1%}{1e-9 * work.bytes:10.4f}"
            line += f"{work.flop / work.bytes:11.1f}"
        print(line)
    print(f"rewritten is {totals[1].flop / totals[0].flop:.3f} of published, and allows on")
    print(f"{'':28}{'iterations/s':>14}{'by arithmetic':>15}{'by memory':>11}")
    for name, (rate, bandwidth) in limits.items():
        both, arithmetic = 1 / shortest(counts[1], rate, bandwidth), 1 / shortest(counts[1], rate)
        print(f"{name:28}{both:14.2f}{arithmetic:15.2f}{bandwidth / totals[1].bytes:11.2f}")
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=CONFIGS)
    parser.add_argument("--image_channels", type=int, default=0, choices=(0, 1, 3), help="0: 3 for CIFAR, else 1")
    parser.add_argument("--variant", default="", help="paper or released; left out, the configuration's")
    parser.add_argument("--precision", default="float32", choices=tuple(ARITHMETIC))
    parser.add_argument("--seconds", type=float, help="of one iteration, measured: prints the utilisation")
    parser.add_argument("--peak", type=float, help="TFLOP/s, measured; left out, the table's for this device")
    arguments = parser.parse_args()
    for name in ("seconds", "peak"):
        if getattr(arguments, name) is not None and not getattr(arguments, name) > 0:
            parser.error(f"--{name} must be a number above 0.")
    if arguments.seconds and len(arguments.config) != 1:
        parser.error("--seconds is the time of one configuration: name it with --config.")
    activation_bytes, arithmetic = ARITHMETIC[arguments.precision]
    limits = {}
    for kind, device in DEVICES.items():
        limit = (device.peaks.get(arithmetic), device.bandwidth)
        if limit[0] is not None and limit not in limits.values():  # some have two names
            limits[kind] = limit
    if arguments.peak:
        limits["the given peak, any memory"] = (1e12 * arguments.peak, math.inf)
    kind = jax.devices()[0].device_kind
    peak = 1e12 * arguments.peak if arguments.peak else peak_of(kind, arithmetic)
    if arguments.seconds and peak is None:
        parser.error(f"the peak of {kind!r} is not known here: give --peak, as a matmul measured there has it.")
    for name in arguments.config:
        config = read_config(name, precision=arguments.precision)
        config.variant = arguments.variant or config.variant
        channels = arguments.image_channels or image_channels_of(config)
        print_heading(config, channels)
        counts = [count_iteration(config, channels, rewritten, activation_bytes) for rewritten in (False, True)]
        totals = _print_floor(counts, limits)
        if arguments.seconds:
            shares = [utilisation(total.flop, arguments.seconds, peak) for total in totals]
            print(f"{arguments.seconds} s use {shares[0]:.2%} (published), {shares[1]:.2%} (rewritten) of the peak")
        print()


if __name__ == "__main__":
    main()
