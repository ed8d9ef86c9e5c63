"""The PyTorch peer computes what the released code and our own iteration compute."""

import functools
import itertools
import re

import jax
import numpy as np
import pytest

from benchmarks.compare import peer_settings
from benchmarks.peer.settings import parse_variant
from mpcc_jax.released.convert import to_released
from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.training.steps import train_iteration
from tests import golden_data
from tests.conftest import draw_inputs, random_variables, tiny_config

RENAMED = (
    (r"^G\.blocks\.(\d+)\.0\.", r"generator.blocks.\1."),
    (r"^D\.blocks\.([012])\.0\.", r"trunk.blocks.\1."),
    (r"^D\.blocks\.3\.0\.", "discriminator.blocks.0."),
    (r"^E\.blocks2\.(\d+)\.0\.", r"encoder.blocks.\1."),
    (r"\.bn([12])\.stored_", r".norm\1.norm."),
    (r"\.bn([12])\.", r".norm\1."),
    (r"\.conv_sc\.", ".shortcut."),
    (r"^G\.output_layer\.0\.stored_", "generator.output_norm."),
    (r"^G\.output_layer\.0\.", "generator.output_"),
    (r"^G\.output_layer\.2\.", "generator.output."),
    (r"^G\.shared\.", "generator.embed."),
    (r"^E\.linear_mu", "encoder.mean"),
    (r"^E\.linear_lv", "encoder.log_var"),
    ("^G", "generator"),
    ("^D", "discriminator"),
    (r"^P\.mu_c", "mixture.mean"),
    (r"^P\.lv_c", "mixture.log_var"),
    (r"u0$", "u"),
    (r"sv0$", "sigma"),
)


def peer_name(name):
    """The peer's name of a released tensor; None for those that compute nothing or stand there twice."""
    if name.startswith(("D.embed", "P.phi_c", "E.blocks.")):
        return None
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def make_peer(torch, settings, variant, tensors, dtype="float64"):
    from benchmarks.peer.iteration import Peer

    peer = Peer(settings, parse_variant(variant), "cpu", torch.Generator().manual_seed(0), getattr(torch, dtype))
    state = tensors_of(peer.parts)
    for name, value in tensors.items():
        if peer_name(name) is not None:
            tensor = state.pop(peer_name(name))
            tensor.data.copy_(torch.as_tensor(np.array(value, np.float64)).reshape(tensor.shape))
    assert not state
    peer.average.load_state_dict(peer.generator.state_dict())
    return peer


def tensors_of(parts):
    return {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


def assert_peer(peer, last, average):
    """Parameters, buffers and moving average are those of the released tensors."""
    for parts, tensors in ((peer.parts, last), ({"generator": peer.average}, average)):
        expected = {peer_name(name): value for name, value in tensors.items() if peer_name(name) is not None}
        actual = tensors_of(parts)
        assert set(expected) == set(actual)
        for name, value in expected.items():
            value = np.asarray(value).reshape(actual[name].shape)
            np.testing.assert_allclose(actual[name].detach().numpy(), value, rtol=1e-9, atol=1e-9, err_msg=name)


def to_torch(torch, batch, noise):
    """Our inputs of an iteration as the peer's: NCHW, and one array of draws in the order of use."""
    images = torch.as_tensor(np.moveaxis(np.array(batch.images, np.float64), -1, -3).copy())
    y, eps = (
        np.concatenate([noise.discriminator[i], noise.generator[i][None], noise.encoder[i]]).copy() for i in range(2)
    )
    return images, torch.as_tensor(y, dtype=torch.int64), torch.as_tensor(eps, dtype=torch.float64)


@pytest.mark.parametrize("variant", ["eager", "plain", "batched+channels_last"])
def test_the_released_trajectory(torch, variant):
    arrays, meta = golden_data.load("golden_training_cbn.npz")
    settings = peer_settings(golden_data.released_config(meta), meta["dataset_channel"])
    initial = golden_data.subset(arrays, "init.")
    initial = {name: value for name, value in initial.items() if not name.startswith("G_ema")}
    peer = make_peer(torch, settings, variant, initial)
    for iteration in range(3):
        with jax.enable_x64(True):
            batch, noise = golden_data.iteration_inputs(arrays, iteration, np.float64)
        peer.update(*to_torch(torch, batch, noise))
        peer.update_average()
    final = golden_data.subset(arrays, "final64.")
    average = {name.replace("_ema", ""): value for name, value in final.items() if name.startswith("G_ema")}
    assert_peer(peer, {name: value for name, value in final.items() if not name.startswith("G_ema")}, average)


@functools.cache
def our_iterations(variant, conditioning):
    """Settings, first tensors, inputs of two iterations, and what ours ends with: tensors, average, trace."""
    config = tiny_config()
    config.variant = variant
    config.model.conditioning = conditioning
    # The prior starts on both sides of the floor, which is log 0.25.
    with jax.enable_x64(True):
        algorithm = build_algorithm(config, 1)
        state = assemble_state(algorithm, *random_variables(algorithm.model, np.float64))
        state = state.replace(params={**state.params, "prior": jax.tree.map(lambda x: 4 * x, state.params["prior"])})
        first = to_released(state.params, state.buffers)
        step = jax.jit(functools.partial(train_iteration, algorithm))
        inputs = [draw_inputs(algorithm, iteration, np.float64) for iteration in range(2)]
        for batch_and_noise in inputs:
            state, trace = step(state, *batch_and_noise)
        average = to_released({"generator": state.ema["params"]}, {"generator": state.ema["buffers"]})
        trace = jax.tree.map(np.asarray, trace)
    return peer_settings(config, 1), first, inputs, to_released(state.params, state.buffers), average, trace


@pytest.mark.parametrize(
    ("ours", "conditioning", "variant"),
    [
        *itertools.product(("paper",), ("conditional", "split"), ("eager", "batched", "plain+channels_last")),
        *itertools.product(("released",), ("shared",), ("eager", "batched", "plain+channels_last")),
        ("paper", "conditional", "compile"),
    ],
)
def test_our_iteration(torch, monkeypatch, ours, conditioning, variant):
    # Captured whole, forward and backward, and run by PyTorch itself: Inductor would take minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    settings, first, inputs, last, average, trace = our_iterations(ours, conditioning)
    peer = make_peer(torch, settings, variant, first)
    for batch, noise in inputs:
        losses = peer.update(*to_torch(torch, batch, noise))
        peer.update_average()
    ours = trace["discriminator"] | trace["generator"] | trace["encoder"]
    for name, value in losses.items():
        expected = ours[name][0] if name in ("membership_cross_entropy", "prior_negative_entropy") else ours[name]
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-9, atol=1e-9, err_msg=name)
    assert_peer(peer, last, average)


def test_bf16_stays_near_float32(torch):
    settings, first, inputs, *_ = our_iterations("paper", "conditional")
    images, y, eps = to_torch(torch, *inputs[0])
    losses = []
    for variant in ("eager", "bf16"):
        peer = make_peer(torch, settings, variant, first, "float32")
        losses.append(peer.update(images.float(), y, eps.float()))
    for name, expected in losses[0].items():
        assert losses[1][name].dtype == torch.float32
        np.testing.assert_allclose(losses[1][name], expected, rtol=0.1, atol=0.1, err_msg=name)
    assert not torch.equal(losses[0]["encoder_nll"], losses[1]["encoder_nll"])


def test_all_of_its_own_first_weights_learn(torch):
    from benchmarks.peer.iteration import Peer

    peer = Peer(our_iterations("paper", "conditional")[0], parse_variant("eager"), "cpu", torch.Generator())
    before = {name: tensor.detach().clone() for name, tensor in tensors_of(peer.parts).items()}
    torch.testing.assert_close(before["mixture.mean"] @ before["mixture.mean"].T, torch.eye(3))
    peer.update(torch.zeros((2, 8, 1, 8, 8)), torch.zeros((5, 8), dtype=torch.int64), torch.ones((5, 8, 8)))
    # At first all logits are between -1 and 1, where the hinge's gradients in the last bias cancel.
    still = [name for name, tensor in tensors_of(peer.parts).items() if torch.equal(tensor, before[name])]
    assert still == ["discriminator.linear.bias"]


def test_cuda_graphs_need_cuda(torch):
    from benchmarks.peer.iteration import Peer

    with pytest.raises(ValueError, match="needs a CUDA device, not cpu"):
        Peer(peer_settings(tiny_config(), 1), parse_variant("graph"), "cpu", torch.Generator())


def test_what_does_not_train_is_not_timed(torch, monkeypatch):
    from benchmarks.peer.iteration import Peer
    from benchmarks.peer.timing import Loop

    peer = Peer(peer_settings(tiny_config(), 1), parse_variant("eager"), "cpu", torch.Generator().manual_seed(0))
    monkeypatch.setattr(peer, "update", lambda *_: None)
    with pytest.raises(RuntimeError, match="left the generator as it was"):
        Loop(peer).warm_up()
