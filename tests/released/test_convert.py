"""Every key of the golden data of one pass, and the mapping of names for all generators and discriminators.

Any other golden_<mode>.npz that lies in tests/golden/ is tested by the same code.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax import losses
from mpcc_jax.config import CONDITIONINGS
from mpcc_jax.data.loader import Batch
from mpcc_jax.errors import WeightsError
from mpcc_jax.model import discriminate, encode, generate
from mpcc_jax.prior import Latents
from mpcc_jax.released import from_released, to_released
from mpcc_jax.released.convert import released_shapes
from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.training.steps import update_discriminator, update_encoder, update_generator
from tests import golden_data
from tests.conftest import random_variables, tiny_config

FILES = sorted(
    path.name for path in golden_data.GOLDEN.glob("golden_*.npz") if not path.name.startswith("golden_training")
)
TOLERANCE = 2e-5


class Case:
    """One golden file, its model, and the numbers that ours must equal."""

    def __init__(self, name):
        self.arrays, self.meta = golden_data.load(name)
        self.algorithm = golden_data.released_algorithm(self.meta)
        self.model = self.algorithm.model
        self.params, self.buffers = golden_data.read_networks(self.model, self.arrays, np.float32)
        self.z, self.eps = (jnp.asarray(self.arrays[f"in.{key}"]) for key in ("z", "eps"))
        self.y, self.y_real = (jnp.asarray(self.arrays[f"in.{key}"], jnp.int32) for key in ("y", "y_real"))
        self.x = golden_data.images(self.arrays["in.x"], jnp.float32)
        self.seen = set()

    def check(self, key, value, scale=None):
        """Compares with one key: 2e-5 x (1 + max|reference|), or x the given scale."""
        reference = self.arrays[key]
        value = np.asarray(value)
        if reference.ndim == 4 and not key.endswith(".weight"):
            value = np.moveaxis(value, -1, 1)
        tolerance = TOLERANCE * (scale or 1 + np.abs(reference).max())
        np.testing.assert_allclose(value.reshape(reference.shape), reference, rtol=0, atol=tolerance, err_msg=key)
        self.seen.add(key)


@pytest.fixture(params=FILES, scope="module")
def case(request):
    return Case(request.param)


def run(case, network, *inputs, train):
    return jax.jit(lambda params, buffers: network(case.model, params, buffers, *inputs, train=train))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_image_output(case, mode):
    train = mode == "train"
    for key, network, inputs, parts in (
        ("G", generate, (case.z, case.y), ("generator",)),
        ("D", discriminate, (case.x, case.y), ("trunk", "discriminator")),
        ("E", encode, (case.x,), ("encoder_trunk", "encoder")),
    ):
        program = run(case, network, *inputs, train=train)
        outputs, buffers = program(case.params, case.buffers)
        if key == "E":
            case.check(f"out.E_mu_{mode}", outputs[0])
            case.check(f"out.E_lv_{mode}", outputs[1])
        else:
            case.check(f"out.{key}_{mode}", outputs)
        if not train:
            continue
        if key != "E":
            case.check(f"out.{key}_train_2nd", program(case.params, buffers)[0])
        else:
            # The released encoder lists the blocks that it shares under its own name too.
            buffers["encoder_trunk"] = buffers["trunk"]
        for name, value in to_released({}, {part: buffers[part] for part in parts}).items():
            case.check(f"post.{name}", value)


def test_intermediate_outputs(case):
    def capture(module, part, *inputs):
        variables = {"params": case.params[part], **case.buffers[part]}
        _, state = module.apply(variables, *inputs, False, capture_intermediates=True)
        return state["intermediates"]

    model = case.model
    generator = capture(model.generator, "generator", case.z, case.y)
    trunk = capture(model.trunk, "trunk", case.x)
    features = trunk["__call__"][0]
    head = capture(model.discriminator, "discriminator", features, case.y)
    encoder = capture(model.encoder, "encoder", features)
    case.check("mid.G.linear", generator["linear"]["__call__"][0][:2])
    for i in range(3):
        case.check(f"mid.G.blocks.{i}.bn1", generator[f"block{i}"]["norm1"]["__call__"][0][:2])
        case.check(f"mid.G.blocks.{i}", generator[f"block{i}"]["__call__"][0][:2])
        case.check(f"mid.D.blocks.{i}", trunk[f"block{i}"]["__call__"][0][:2])
        case.check(f"mid.E.blocks2.{i}", encoder[f"block{i}"]["__call__"][0][:2])
    case.check("mid.D.blocks.3", head["block0"]["__call__"][0][:2])
    case.check("mid.E.linear_mu1", encoder["mean1"]["__call__"][0][:2])
    case.check("mid.E.linear_lv1", encoder["log_var1"]["__call__"][0][:2])
    if case.model.generator.conditioning != "conditional":
        case.check("out.shared_y", generator["shared_embed"]["__call__"][0])
    else:
        case.check("out.shared_y", case.y)


def test_prior(case):
    prior, theta = case.model.prior, case.params["prior"]
    z = prior.sampling_mixture(theta).sample(case.y, case.eps)
    membership = prior.membership_mixture(theta)
    log_memberships = losses.log_membership(case.z, membership)
    nearest = log_memberships.argmax(axis=-1)
    distance = (case.z - membership.mean[nearest]) ** 2 / jnp.exp(membership.log_var[nearest])
    case.check("out.P_mse_norm", distance.mean(axis=-1))
    case.check("out.P_z", z)
    case.check("out.P_logr", log_memberships)
    case.check("out.P_r", jnp.exp(log_memberships))
    case.check("out.P_logr_of_P_z", losses.log_membership(z, membership))


def test_losses(case):
    arrays, prior = case.arrays, case.model.prior
    fake, real = (jnp.asarray(arrays[f"loss.in_D_{name}"][:, 0]) for name in ("fake", "real"))
    case.check("loss.hinge_D_real", losses.hinge_real(real).mean())
    case.check("loss.hinge_D_fake", losses.hinge_fake(fake).mean())
    case.check("loss.hinge_G", losses.hinge_generator(fake).mean())
    mean, log_var = (jnp.asarray(arrays[f"out.E_{name}_eval"]) for name in ("mu", "lv"))
    nll = losses.gaussian_nll(case.z, mean, log_var, case.algorithm.conventions.log_constant).mean()
    case.check("loss.E_ll_raw", nll)
    case.check("loss.E_ll_used", nll / case.meta["lambda_encoder"])
    case.check("loss.mse_metric", ((case.z - mean) ** 2).sum(-1).mean())
    log_memberships = jnp.asarray(arrays["out.P_logr_of_P_z"])
    case.check("loss.cls", losses.membership_cross_entropy(case.y, log_memberships).mean())
    mixture = prior.entropy_mixture(case.params["prior"])
    # The released sums leave out sum_k phi_k log phi_k, a constant, and phi_k = 1/K.
    constant, components = jnp.log(1.0 / prior.num_components), prior.num_components
    per_cluster = jax.vmap(
        lambda log_var: losses.prior_negative_entropy(
            mixture._replace(log_weights=jnp.zeros(1), mean=log_var[None], log_var=log_var[None]), 1.0
        )
    )(mixture.log_var)
    case.check("loss.loss3_per_cluster", per_cluster)
    case.check("loss.loss3_raw", (losses.prior_negative_entropy(mixture, 1.0) - constant) * components)
    case.check("loss.loss3_used_0.01", 0.01 * (losses.prior_negative_entropy(mixture) - constant))
    weight = 1.0 / case.meta["lambda_encoder"]
    case.check("loss.loss3_used_minus1", losses.prior_negative_entropy(mixture, weight) - constant)


def gradients_of(case, step, optimizer, inputs):
    """What one phase hands to its optimizers: Adam with beta1 = 0 keeps the gradient as its first moment."""
    state = assemble_state(case.algorithm, case.params, case.buffers)
    state, metrics = jax.jit(lambda state: step(case.algorithm, state, inputs))(state)
    gradients = {}
    for name in optimizer:
        gradients |= state.optimizers[name][0].mu
    return gradients, metrics


def test_discriminator_step(case):
    inputs = (Batch(case.x, case.y_real), Latents(case.y, case.eps))
    gradients, metrics = gradients_of(case, update_discriminator, ["discriminator"], inputs)
    case.check("stepD.loss_real", metrics["discriminator_loss_real"])
    case.check("stepD.loss_fake", metrics["discriminator_loss_fake"])
    for name, value in to_released(gradients, {}).items():
        case.check("gradD." + name, value)
    z = case.model.prior.sampling_mixture(case.params["prior"]).sample(case.y, case.eps)
    fakes, buffers = generate(case.model, case.params, case.buffers, z, case.y, train=True)
    labels = jnp.concatenate([case.y, case.y_real])
    both = jnp.concatenate([fakes, case.x])
    logits, _ = discriminate(case.model, case.params, buffers, both, labels, train=True)
    case.check("stepD.D_fake", logits[:8])
    case.check("stepD.D_real", logits[8:])
    case.check("stepG.D_fake", logits[:8])


def test_generator_step(case):
    gradients, metrics = gradients_of(case, update_generator, ["generator", "prior"], Latents(case.y, case.eps))
    case.check("stepG.loss", metrics["generator_loss"])
    largest = max(np.abs(value).max() for key, value in case.arrays.items() if key.startswith("gradG."))
    for name, value in to_released(gradients, {}).items():
        # Biases ahead of a batch norm have gradient zero up to rounding: the scale is the largest gradient.
        dead = name.startswith("G.blocks") and ".conv" in name and name.endswith("bias")
        case.check("gradG." + name, value, largest if dead else None)


def test_encoder_step(case):
    inputs = (Latents(case.y, case.eps), jnp.asarray(True))
    gradients, metrics = gradients_of(case, update_encoder, ["encoder", "prior"], inputs)
    ll_used = metrics["encoder_nll"] / case.meta["lambda_encoder"]
    loss3 = 0.01 * (metrics["prior_negative_entropy"] + jnp.log(float(case.model.prior.num_components)))
    case.check("stepE.ll_used", ll_used)
    case.check("stepE.cls", metrics["membership_cross_entropy"])
    case.check("stepE.loss3_used", loss3)
    case.check("stepE.total", ll_used + metrics["membership_cross_entropy"] + loss3)
    gradients["encoder_trunk"] = gradients.pop("trunk")
    for name, value in to_released(gradients, {}).items():
        case.check("gradE." + name, value)
    z = case.model.prior.sampling_mixture(case.params["prior"]).sample(case.y, case.eps)
    fakes, buffers = generate(case.model, case.params, case.buffers, z, case.y, train=True)
    (mean, log_var), _ = encode(case.model, case.params, buffers, fakes, train=True)
    case.check("stepE.z", z)
    case.check("stepE.mu", mean)
    case.check("stepE.lv", log_var)


def test_no_key_was_left_out(case):
    """Runs last in the module: every key that is not an input was compared with something."""
    results = ("out.", "post.", "mid.", "loss.", "step", "grad")
    left = {key for key in case.arrays if key.startswith(results) and not key.startswith("loss.in_")} - case.seen
    if not case.model.discriminator.projection:
        # The released discriminator keeps an embedding that an unconditional pass does not touch.
        idle = {key for key in left if key.startswith("post.D.embed.")}
        assert all(np.array_equal(case.arrays[key], case.arrays[key.removeprefix("post.")]) for key in idle)
        left -= idle
    assert not left


def tiny_model(conditional=False, resolution=8, **settings):
    config = tiny_config()
    config.data.resolution = resolution
    config.model.update(settings)
    config.training.conditional = conditional
    return build_algorithm(config, 1).model


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize(("conditional", "share_blocks"), [(False, True), (True, False)])
def test_names_round_trip_in_every_mode(conditioning, conditional, share_blocks):
    model = tiny_model(conditional, conditioning=conditioning, share_blocks=share_blocks)
    variables = random_variables(model)
    tensors = to_released(*variables)
    assert len(tensors) == len(jax.tree.leaves(variables))
    restored = from_released(model, tensors)
    assert jax.tree.structure(restored) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_names_of_the_hierarchical_generator_and_the_projection():
    """From the golden README: which layers have a u0, and which do not."""
    shapes = released_shapes(tiny_model(conditional=True, conditioning="split"))
    features, condition = 4, 8 + 4
    assert shapes["G.blocks.0.0.bn2.gain.weight"] == (features, condition)
    assert shapes["G.blocks.0.0.bn2.gain.u0"] == (1, features)
    assert shapes["G.shared.weight"] == (3, 8)
    assert "G.shared.u0" not in shapes
    assert shapes["D.embed.weight"] == (3, features)
    assert shapes["D.embed.u0"] == (1, 3)


def test_the_golden_file_has_every_tensor_of_their_classes():
    arrays, meta = golden_data.load("golden_cbn.npz")
    networks = {name: array.shape for name, array in arrays.items() if name[:2] in ("G.", "D.", "E.", "P.")}
    assert released_shapes(golden_data.released_algorithm(meta).model) == networks


def test_tensors_that_do_not_fit_are_refused_by_name():
    tensors = to_released(*random_variables(tiny_model()))
    broken = {**tensors, "G.linear.weight": np.zeros((3, 3)), "G.attention.weight": np.zeros(1)}
    del broken["D.linear.u0"]
    with pytest.raises(WeightsError) as error:
        from_released(tiny_model(), broken)
    assert str(error.value) == (
        "The weights do not fit the model: D.linear.u0 (1, 1) is missing; G.linear.weight is (3, 3); expected (64, 8); "
        "G.attention.weight (1,) does not belong there."
    )
    average = {name.replace("G.", "G_ema."): array for name, array in tensors.items() if name.startswith("G.")}
    from_released(tiny_model(), {**tensors, **average})
    del average["G_ema.linear.bias"]
    with pytest.raises(WeightsError, match=r"model: G_ema\.linear\.bias \(64,\) is missing\.$"):
        from_released(tiny_model(), {**tensors, **average})


@pytest.mark.parametrize(
    ("before", "now", "fields"),
    [
        ({}, {"channels": 2}, "config.model.channels"),
        ({}, {"num_clusters": 5, "latent_dim": 6}, "config.model.num_clusters and config.model.latent_dim"),
        ({}, {"conditioning": "shared"}, "config.model.conditioning"),
        ({"conditioning": "shared"}, {"conditioning": "split"}, "config.model.conditioning"),
        ({}, {"share_blocks": False}, "config.model.share_blocks"),
        ({}, {"conditional": True}, "config.training.conditional"),
        ({}, {"resolution": 16}, "config.data.resolution"),
    ],
)
def test_likely_fields_are_named(before, now, fields):
    tensors = to_released(*random_variables(tiny_model(**before)))
    with pytest.raises(WeightsError, match=rf"probably made with another {fields}\.$"):
        from_released(tiny_model(**now), tensors)
