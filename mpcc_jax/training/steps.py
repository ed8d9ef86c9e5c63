"""Algorithm 1: one pure function for each of its updates, one iteration, and many iterations in one program."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from mpcc_jax import losses
from mpcc_jax.augmentation import Transforms, augment, draw_transforms
from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.loader import Batch, Examples, to_batch
from mpcc_jax.model import discriminate, encode, generate
from mpcc_jax.prior import EM, GRADIENT, Latents, Mixture, draw_latents
from mpcc_jax.training.sharding import Layout
from mpcc_jax.training.state import Algorithm, TrainState, state_shapes

Metrics = dict[str, Array]
CAME_APART = 0.95  # prior accuracy above which phi is learnt


class Noise(NamedTuple):
    """All draws of one iteration."""

    discriminator: Latents  # [D_steps, B]
    generator: Latents  # [B]
    encoder: Latents  # [E_steps, B]
    transforms: Transforms = Transforms()


def draw_noise(algorithm: Algorithm, key: Key[Array, ""], iteration: Int[Array, ""] | int) -> Noise:
    """Draws the noise of one iteration (lines 9-10, 14-15 and 19-20), a function of the run's key and the iteration."""
    keys = jax.random.split(jax.random.fold_in(key, iteration), 3)
    # One generator for all phases, then cut: XLA compiles one loop instead of three, and a draw does not depend on how
    # many follow it.
    shape = (max(algorithm.discriminator_steps, algorithm.encoder_steps), algorithm.batch_size)
    latents = jax.vmap(functools.partial(draw_latents, shape=shape, prior=algorithm.model.prior))(keys)

    def cut(*index):
        return jax.tree.map(operator.itemgetter(index), latents)

    steps = (algorithm.discriminator_steps, algorithm.encoder_steps)
    transforms = draw_transforms(algorithm.augmentation, key, iteration, algorithm.batch_size, *steps)
    return Noise(cut(0, slice(steps[0])), cut(1, 0), cut(2, slice(steps[1])), transforms)


def shard_noise(noise: Noise, layout: Layout) -> Noise:
    """Divides noise over devices like the batch that it makes; else every device would generate all of it."""
    steps, alone = (None, "batch"), ("batch",)
    axes = Noise(steps, alone, steps, Transforms(steps, alone, steps))

    def divide(spec, part):
        return jax.tree.map(lambda x: layout.constrain(x, *spec), part)

    return jax.tree.map(divide, axes, noise, is_leaf=lambda node: type(node) is tuple)


def apply_gradients(
    algorithm: Algorithm, state: TrainState, optimizer: str, gradients: Any
) -> tuple[TrainState, Float[Array, ""]]:
    """Takes one step of one optimizer on the parts of params that it owns; returns the norm of its gradient too."""
    parts = {part: state.params[part] for part in algorithm.optimized_parts[optimizer]}
    if algorithm.axis_name is not None:
        gradients = lax.pmean(gradients, algorithm.axis_name)
    updates, optimizer_state = algorithm.optimizers[optimizer].update(gradients, state.optimizers[optimizer], parts)
    params = {**state.params, **optax.apply_updates(parts, updates)}
    if "prior" in parts:
        params["prior"] = algorithm.model.prior.project(params["prior"])
    state = state.replace(params=params, optimizers={**state.optimizers, optimizer: optimizer_state})
    return state, optax.tree.norm(gradients)


def projection_weight(algorithm: Algorithm, state: TrainState) -> Float[Array, ""] | float:
    """Returns the weight of the discriminator's projection on y: after a warm start 0."""
    return jnp.where(state.iteration < algorithm.warm_start, 1.0, 0.0) if algorithm.warm_start else 1.0


def update_discriminator(
    algorithm: Algorithm, state: TrainState, inputs: tuple[Batch, Latents], transforms: Array | None = None
) -> tuple[TrainState, Metrics]:
    """Lines 8 to 12: one update of theta_d on f(D(x)) + g(D(x~)); `transforms` [2 * B, ...] augment both."""
    batch, latents = inputs
    model, adversarial = algorithm.model, algorithm.adversarial
    y, z = model.prior.sampling_mixture(state.params["prior"]).draw(latents)
    fakes, buffers = generate(model, state.params, state.buffers, z, y, train=True)
    state = state.replace(buffers=buffers)
    images = augment(algorithm.augmentation, jnp.concatenate([fakes, batch.images]), transforms)
    labels = jnp.concatenate([y, batch.labels if algorithm.needs_labels else y])
    options = {"train": True, "projection": projection_weight(algorithm, state)}

    def loss(theta_d):
        logits, buffers = discriminate(model, {**state.params, **theta_d}, state.buffers, images, labels, **options)
        logits_fake, logits_real = jnp.split(logits, 2)
        loss_real = jnp.mean(adversarial.real(logits_real))
        loss_fake = jnp.mean(adversarial.fake(logits_fake))
        metrics = {
            "discriminator_loss_real": loss_real,
            "discriminator_loss_fake": loss_fake,
            "logits_real": jnp.mean(logits_real),
            "logits_fake": jnp.mean(logits_fake),
        }
        return loss_real + loss_fake, (buffers, metrics)

    theta_d = {part: state.params[part] for part in model.discriminator_parts}
    gradients, (buffers, metrics) = jax.grad(loss, has_aux=True)(theta_d)
    state, norm = apply_gradients(algorithm, state.replace(buffers=buffers), "discriminator", gradients)
    return state, {**metrics, "gradient_norm_discriminator": norm}


def update_weights(
    algorithm: Algorithm, state: TrainState, images: Float[Array, "B H W C"], prior_accuracy: Float[Array, ""]
) -> TrainState:
    """One step of EM for phi on real images, once the components have come apart."""
    model, theta_c = algorithm.model, state.params["prior"]
    (mean, _), _ = encode(model, state.params, state.buffers, images, train=False)
    memberships = jnp.exp(losses.log_membership(mean, model.prior.membership_mixture(theta_c))).mean(axis=0)
    if algorithm.axis_name is not None:
        memberships = lax.pmean(memberships, algorithm.axis_name)
    matched = model.prior.match_weights(theta_c, memberships)
    log_weights = jnp.where(prior_accuracy > CAME_APART, matched["log_weights"], theta_c["log_weights"])
    return state.replace(params={**state.params, "prior": {**theta_c, "log_weights": log_weights}})


def update_generator(
    algorithm: Algorithm, state: TrainState, latents: Latents, transforms: Array | None = None
) -> tuple[TrainState, Metrics]:
    """Lines 14 to 17: one update of theta_g and theta_c on h(D(x~)), Loss I."""
    model = algorithm.model

    def loss(theta_g, theta_c):
        params = {**state.params, **theta_g, **theta_c}
        y, z = model.prior.sampling_mixture(params["prior"]).draw(latents)
        fakes, buffers = generate(model, params, state.buffers, z, y, train=True)
        fakes = augment(algorithm.augmentation, fakes, transforms)
        projection = projection_weight(algorithm, state)
        logits, buffers = discriminate(model, params, buffers, fakes, y, train=True, projection=projection)
        values = algorithm.adversarial.generator(logits)
        if model.prior.weights == GRADIENT:
            log_weights = model.prior.log_weights(params["prior"])
            pull = losses.weights_score(log_weights, y, values) - model.prior.weights_prior * jnp.mean(log_weights)
            memberships = losses.log_membership(z, model.prior.membership_mixture(params["prior"]))
            came_apart = jnp.mean(jnp.argmax(memberships, axis=-1) == y) > CAME_APART
            return jnp.mean(values) + jnp.where(came_apart, pull, 0.0), buffers
        return jnp.mean(values), buffers

    theta_g, theta_c = ({part: state.params[part]} for part in ("generator", "prior"))
    (value, buffers), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(theta_g, theta_c)
    state, generator_norm = apply_gradients(algorithm, state.replace(buffers=buffers), "generator", gradients[0])
    state, prior_norm = apply_gradients(algorithm, state, algorithm.prior_generator_optimizer, gradients[1])
    norms = {"gradient_norm_generator": generator_norm, "gradient_norm_prior_generator": prior_norm}
    return state, {"generator_loss": value, **norms}


def information(
    mixture: Mixture,
    y: Int[Array, " B"],
    z: Float[Array, "B J"],
    mean: Float[Array, "B J"],
    log_var: Float[Array, "B J"],
    log_memberships: Float[Array, "B K"],
    found: Float[Array, "B K"],
) -> Metrics:
    """Bounds of what generated images tell of their latents, in nats; they train nothing.

    information = h(z | y) + H(y) - L_q - L_c <= I(x~; z, y), information_of_y = H(y) + E log q(y | mean) <= I(x~; y),
    which is at most log K; round_trip_accuracy is how often y is the likeliest component at the encoder's mean.

    Args:
      log_memberships, found: of Eq. 9 at z and at `mean`.

    References:
      Barber and Agakov. The IM Algorithm: a variational approach to information maximization. NeurIPS 2003.
    """
    entropy = -losses.prior_negative_entropy(mixture, dimension_weight=1.0)
    entropy_of_y = -jnp.sum(jnp.exp(mixture.log_weights) * mixture.log_weights)
    nll = jnp.mean(losses.gaussian_nll(z, mean, log_var))
    return {
        "information": entropy - nll - jnp.mean(losses.membership_cross_entropy(y, log_memberships)),
        "information_of_y": entropy_of_y - jnp.mean(losses.membership_cross_entropy(y, found)),
        "round_trip_accuracy": jnp.mean(jnp.argmax(found, axis=-1) == y),
    }


def update_prior(
    algorithm: Algorithm,
    state: TrainState,
    latents: Latents,
    mean: Float[Array, "B J"],
    log_var: Float[Array, "B J"],
) -> tuple[TrainState, Metrics]:
    """Lines 25 and 26: one update of theta_c on L_c + lambda_p L_p (released: and on L_q through z)."""
    prior = algorithm.model.prior

    def loss(theta_c):
        mixture, membership_mixture = (
            kind(theta_c["prior"]) for kind in (prior.sampling_mixture, prior.membership_mixture)
        )
        y, z = mixture.draw(latents)
        log_memberships = losses.log_membership(z, membership_mixture)
        cross_entropy = jnp.mean(losses.membership_cross_entropy(y, log_memberships))
        negative_entropy = losses.prior_negative_entropy(prior.entropy_mixture(theta_c["prior"]))
        value = cross_entropy + algorithm.prior_weight * negative_entropy
        if algorithm.conventions.latent_gradient:
            nll = losses.gaussian_nll(z, mean, log_var, algorithm.conventions.log_constant)
            value += jnp.mean(nll) / math.prod(algorithm.model.image_shape)
        return value, {
            "membership_cross_entropy": cross_entropy,
            "prior_negative_entropy": negative_entropy,
            "prior_accuracy": jnp.mean(jnp.argmax(log_memberships, axis=-1) == y),
            **information(
                mixture, y, z, mean, log_var, log_memberships, losses.log_membership(mean, membership_mixture)
            ),
        }

    gradients, metrics = jax.grad(loss, has_aux=True)({"prior": state.params["prior"]})
    state, norm = apply_gradients(algorithm, state, "prior", gradients)
    return state, {**metrics, "gradient_norm_prior": norm}


def update_encoder(
    algorithm: Algorithm,
    state: TrainState,
    inputs: tuple[Latents, Bool[Array, ""] | bool],
    transforms: Array | None = None,
) -> tuple[TrainState, Metrics]:
    """Lines 19 to 27: one update of theta_e on L_q / dim(x); at the first step, of theta_c too.

    Metrics of the prior are zero at other steps.
    """
    latents, is_first = inputs
    model = algorithm.model
    y, z = model.prior.sampling_mixture(state.params["prior"]).draw(latents)
    fakes, buffers = generate(model, state.params, state.buffers, z, y, train=True)
    fakes = augment(algorithm.augmentation, fakes, transforms)

    def loss(theta_e):
        (mean, log_var), advanced = encode(model, {**state.params, **theta_e}, buffers, fakes, train=True)
        nll = jnp.mean(losses.gaussian_nll(z, mean, log_var, algorithm.conventions.log_constant))
        return nll / math.prod(model.image_shape), (advanced, mean, log_var, nll)

    theta_e = {part: state.params[part] for part in model.encoder_parts}
    gradients, (buffers, mean, log_var, nll) = jax.grad(loss, has_aux=True)(theta_e)
    state, norm = apply_gradients(algorithm, state.replace(buffers=buffers), "encoder", gradients)

    def update():
        stepped, metrics = update_prior(algorithm, state, latents, mean, log_var)
        return stepped.params["prior"], stepped.optimizers["prior"], metrics

    def keep():
        metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(update)[2])
        return state.params["prior"], state.optimizers["prior"], metrics

    prior, optimizer, metrics = lax.cond(is_first, update, keep)
    state = state.replace(params={**state.params, "prior": prior}, optimizers={**state.optimizers, "prior": optimizer})
    latent_mse = jnp.mean(jnp.sum((z - mean) ** 2, axis=-1))
    return state, {**metrics, "encoder_nll": nll, "latent_mse": latent_mse, "gradient_norm_encoder": norm}


def update_ema(algorithm: Algorithm, state: TrainState) -> TrainState:
    """Counts the iteration and moves the generator's average: weights, statistics and u alike."""
    iteration = state.iteration + 1
    weight = jnp.where(iteration < algorithm.ema_start, 1.0, 1.0 - algorithm.ema_decay)
    newest = {"params": state.params["generator"], "buffers": state.buffers["generator"]}
    return state.replace(iteration=iteration, ema=optax.incremental_update(newest, state.ema, weight))


def train_iteration(
    algorithm: Algorithm, state: TrainState, batch: Batch, noise: Noise
) -> tuple[TrainState, dict[str, Metrics]]:
    """One iteration of Algorithm 1, lines 7 to 28. Pure: all randomness is in `batch` [D_steps, B, ...] and `noise`.

    Returns metrics by phase, with a leading axis of steps for "discriminator" and "encoder".
    """
    is_first = jnp.arange(algorithm.encoder_steps) == 0
    with algorithm.model.precision.scope():  # for the gradients too, which are traced after the networks
        inputs = ((batch, noise.discriminator), noise.transforms.discriminator)
        state, critic = lax.scan(lambda state, xs: update_discriminator(algorithm, state, *xs), state, inputs)
        state, generated = update_generator(algorithm, state, noise.generator, noise.transforms.generator)
        inputs = ((noise.encoder, is_first), noise.transforms.encoder)
        state, encoded = lax.scan(lambda state, xs: update_encoder(algorithm, state, *xs), state, inputs)
        if algorithm.model.prior.weights == EM:
            state = update_weights(algorithm, state, batch.images[0], encoded["prior_accuracy"][0])
    return update_ema(algorithm, state), {"discriminator": critic, "generator": generated, "encoder": encoded}


PRIOR_METRICS = (
    *("membership_cross_entropy", "prior_negative_entropy", "prior_accuracy", "gradient_norm_prior"),
    *("information", "information_of_y", "round_trip_accuracy"),
)


def summarize(algorithm: Algorithm, trace: dict[str, Metrics]) -> Metrics:
    """Returns one scalar per metric: the last step's, and for the prior the first encoder step's."""
    metrics = {name: values[-1] for name, values in trace["discriminator"].items()} | trace["generator"]
    for name, values in trace["encoder"].items():
        metrics[name] = values[0] if name in PRIOR_METRICS else values[-1]
    return metrics if algorithm.axis_name is None else lax.pmean(metrics, algorithm.axis_name)


def train_iterations(
    algorithm: Algorithm, state: TrainState, examples: Examples, noise_key: Key[Array, ""], layout: Layout | None = None
) -> tuple[TrainState, Metrics]:
    """Several iterations in one program, on images [iterations, D_steps, B, H, W, C]; metrics are [iterations].

    `layout` divides noise and state over devices; None leaves that to the shardings of the inputs.
    """

    def iterate(state, examples):
        noise = draw_noise(algorithm, noise_key, state.iteration)
        noise = noise if layout is None else shard_noise(noise, layout)
        state, trace = train_iteration(algorithm, state, to_batch(examples), noise)
        state = state if layout is None else layout.pin(state)
        return state, summarize(algorithm, trace)

    return lax.scan(iterate, state, examples)


# The same function for equal arguments, so that runs which are alike compile once.
@functools.lru_cache(maxsize=8)
def compile_train_iterations(algorithm: Algorithm, layout: Layout | None = None) -> Callable:
    """Returns `train_iterations` as a jitted function of (state, examples, noise key) that reuses its state's memory.

    It compiles once per number of iterations. With several seeds, arguments and results have a leading axis of them.
    """
    program, options = functools.partial(train_iterations, algorithm, layout=layout), compiler_options()
    if layout is None:
        return jax.jit(program, donate_argnums=0, compiler_options=options)
    program = layout.over_seeds(program)
    shardings = (layout.state(state_shapes(algorithm)), layout.replicated)
    return jax.jit(program, donate_argnums=0, out_shardings=shardings, compiler_options=options)
