"""The count agrees with what JAX and XLA find in the programs, and with sums by hand."""

import contextlib
import functools
import math
import sys

import jax
import pytest
from jax.extend.core import Literal

from benchmarks.flops import CONFIGS, count_flop, count_iteration, main, network_layers
from benchmarks.ours import image_channels_of, read_config
from mpcc_jax.training.state import build_algorithm, state_shapes
from mpcc_jax.training.steps import train_iteration
from tests.conftest import draw_inputs, tiny_config


def products(jaxpr, used=None):
    """Multiply-adds of the convolutions and dots whose results are used; products with a vector do not count."""
    used = [True] * len(jaxpr.outvars) if used is None else used
    live = {var for var, is_used in zip(jaxpr.outvars, used, strict=True) if is_used and not isinstance(var, Literal)}
    total = 0
    for eqn in reversed(jaxpr.eqns):
        flags = [var in live for var in eqn.outvars]
        if not any(flags):
            continue
        live.update(var for var in eqn.invars if not isinstance(var, Literal))
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            total += COUNTERS[eqn.primitive.name](eqn)
        leaves = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda leaf: hasattr(leaf, "jaxpr"))
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in leaves if hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")]
        # The last branch is the default of `platform_dependent`, what runs on a GPU.
        inner, times = (inner[-1:], 1) if eqn.primitive.name == "cond" else (inner, eqn.params.get("length", 1))
        for jaxpr_inside in inner:
            same = eqn.primitive.name != "scan" and len(jaxpr_inside.outvars) == len(flags)
            total += times * products(jaxpr_inside, flags if same else None)
    return total


def dot_products(eqn):
    left, right = (var.aval.shape for var in eqn.invars)
    if min(len(left), len(right)) < 2:
        return 0
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def convolution_products(eqn):
    assert eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1
    layout, output = eqn.params["dimension_numbers"], eqn.outvars[0].aval.shape
    images, kernel = (var.aval.shape for var in eqn.invars)
    batch, features, *positions = (output[axis] for axis in layout.out_spec)
    positions = math.prod(positions)
    if layout.lhs_spec[0] == 0:
        # An input's gradient may have more positions out than in, without padding or with zeros between them for a
        # stride: each one in is seen once by each tap.
        positions = min(positions, math.prod(images[axis] for axis in layout.lhs_spec[2:]))
    return batch * features * positions * math.prod(kernel[axis] for axis in layout.rhs_spec[1:])


COUNTERS = {"dot_general": dot_products, "conv_general_dilated": convolution_products}


def configure(conditioning="conditional", resolution=8, latent_dim=8, variant="paper", prior=None, **model):
    config = tiny_config()
    config.variant, config.prior.family = variant, prior or config.prior.family
    config.data.resolution = resolution
    config.model.update({"conditioning": conditioning, "latent_dim": latent_dim, **model})
    return config


@pytest.mark.parametrize(("name", "teraflop"), [("mnist", 0.215), ("cifar10", 13.65)])
def test_published_work_of_an_iteration(name, teraflop):
    """The shares for CIFAR-10 are those measured in the design: D 54, E 34, G 12 %."""
    config = read_config(name)
    channels = image_channels_of(config)
    total = count_flop(config, channels)["published"]
    assert 1e-12 * total == pytest.approx(teraflop, rel=2e-3)
    if name == "cifar10":
        works = count_iteration(config, channels, rewritten=False)
        assert [round(100 * work.flop / total) for work in works.values()] == [54, 12, 34]


@pytest.mark.parametrize(
    ("config", "image_channels", "conditional"),
    [
        (configure("conditional"), 1, True),
        (configure("split", 64, latent_dim=20), 3, True),
        (read_config("cifar10"), 3, False),
    ],
    ids=("conditional", "split", "cifar10"),
)
def test_layers_have_the_names_and_parameters_of_the_model(config, image_channels, conditional):
    config = config.copy_and_resolve_references()
    config.training.conditional = conditional
    found = {}
    params = state_shapes(build_algorithm(config, image_channels)).params
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = ".".join(part.key for part in path[:-1])
        found[name] = found.get(name, 0) + leaf.size
    for rewritten in (False, True):
        layers = network_layers(config, image_channels, rewritten)
        assert {layer.name: layer.parameters for network in layers.values() for layer in network} == found


@pytest.mark.parametrize(
    ("config", "image_channels"),
    [
        (read_config("mnist"), 1),
        (configure("split", 16, latent_dim=9, variant="released"), 1),
        (configure(num_clusters=1, prior="standard_normal"), 1),  # which needs no gradient of latents
    ],
    ids=("mnist", "released", "standard_normal"),
)
def test_an_iteration_has_the_counted_products(config, image_channels):
    """As it is traced, gradients included, for the platforms that are no CPU; what is unused drops out."""
    algorithm = build_algorithm(config, image_channels)
    inputs = jax.eval_shape(lambda: draw_inputs(algorithm))
    jaxpr = jax.make_jaxpr(functools.partial(train_iteration, algorithm))(state_shapes(algorithm), *inputs).jaxpr
    assert 2 * products(jaxpr) == count_flop(config, image_channels)["rewritten"]


def test_the_count_of_xla():
    """XLA counts elementwise work too, and no padding; measured: 0.916."""
    config = configure(resolution=16, channels=4)
    config.training.update({"discriminator_steps": 1, "encoder_steps": 1})
    algorithm = build_algorithm(config, 1)
    inputs = jax.eval_shape(lambda: draw_inputs(algorithm))
    traced = jax.jit(functools.partial(train_iteration, algorithm)).trace(state_shapes(algorithm), *inputs)
    # Not for CPU, which has gradients of its own; lowering needs no GPU.
    flop = traced.lower(lowering_platforms=("cuda",)).cost_analysis()["flops"]
    assert 0.9 < flop / count_flop(config, 1)["rewritten"] < 1


@pytest.mark.parametrize("name", CONFIGS)
def test_rewrites_save_and_power_iterations_are_little(name):
    config = read_config(name)
    published, rewritten = (count_iteration(config, 1, rewrites) for rewrites in (False, True))
    for phase, work in rewritten.items():
        assert work.multiply_adds < published[phase].multiply_adds
        assert work.bytes < published[phase].bytes
    training, layers = config.training, network_layers(config, 1, rewritten=True)
    critic, encoder = training.discriminator_steps, training.encoder_steps
    passes = {"generator": critic + 1 + encoder, "discriminator": critic + 1, "encoder": encoder}
    # v from u, u from v, and sigma: three products for each parameter of a kernel.
    power = sum(3 * times * layer.parameters for name, times in passes.items() for layer in layers[name])
    assert power < 2e-3 * sum(work.multiply_adds for work in rewritten.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "1", "--peak", "1"], "one configuration"),
        (["--seconds", "0", "--config", "mnist"], "--seconds must be a number above 0"),
        (["--seconds", "1", "--config", "mnist"], "give --peak"),
        (["--seconds", "2", "--config", "mnist", "--peak", "0.2"], "2.0 s use 53.70% (published)"),
    ],
)
def test_the_command_says_what_is_missing_or_the_utilisation(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["flops", *arguments])
    with contextlib.suppress(SystemExit):
        main()
    assert message in "".join(capsys.readouterr())
