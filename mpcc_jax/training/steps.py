"""The updates of Algorithm 1, one pure function each: (algorithm, state, inputs) -> (state, metrics)."""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from mpcc_jax import losses
from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.augmentation import augment, draw_augmentation
from mpcc_jax.data.loader import to_batch
from mpcc_jax.model import discriminate, encode, generate, generate_passes
from mpcc_jax.prior import Latents, draw_latents
from mpcc_jax.training.state import state_shapes


def apply_gradients(algorithm, state, optimizer, gradients):
    """One step of one optimizer on the parts of params that it owns; and the norm of its gradient."""
    parts = {part: state.params[part] for part in algorithm.optimized_parts[optimizer]}
    if algorithm.axis_name is not None:
        gradients = lax.pmean(gradients, algorithm.axis_name)
    updates, optimizer_state = algorithm.optimizers[optimizer].update(gradients, state.optimizers[optimizer], parts)
    params = {**state.params, **optax.apply_updates(parts, updates)}
    if "prior" in parts:
        params["prior"] = algorithm.model.prior.project(params["prior"])
    state = state.replace(params=params, optimizers={**state.optimizers, optimizer: optimizer_state})
    return state, optax.tree.norm(gradients)


def update_discriminator(algorithm, state, inputs):
    """Lines 8 to 12: one update of theta_d on f(D(x)) + g(D(x~)).

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      inputs: (`Batch` of B real images, `Latents` of B draws).

    Returns:
      The state, and metrics: scalars.
    """
    batch, (y, eps) = inputs
    z = algorithm.model.prior.sampling_mixture(state.params["prior"]).sample(y, eps)
    fakes, buffers = generate(algorithm.model, state.params, state.buffers, z, y, train=True)
    return _criticize(algorithm, state.replace(buffers=buffers), (batch, y, fakes))


def update_discriminator_repeatedly(algorithm, state, batches, latents):
    """Lines 7 to 12: all of the discriminator's updates, between which the generator and the prior stay as they are.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      batches, latents: as for `update_discriminator`, with a leading axis of steps.

    Returns:
      The state, and metrics: [D_steps] each.
    """
    if not algorithm.model.rewrites.batched_generator:
        return lax.scan(functools.partial(update_discriminator, algorithm), state, (batches, latents))
    y, eps = latents
    z = jax.vmap(algorithm.model.prior.sampling_mixture(state.params["prior"]).sample)(y, eps)
    fakes, buffers = generate_passes(algorithm.model, state.params, state.buffers, z, y)
    return lax.scan(functools.partial(_criticize, algorithm), state.replace(buffers=buffers), (batches, y, fakes))


def _criticize(algorithm, state, inputs):
    """Lines 10 to 12, with the generated images at hand: inputs are (`Batch`, y of the images, the images)."""
    batch, y, fakes = inputs
    model, (f, g, _) = algorithm.model, algorithm.adversarial
    images = jnp.concatenate([fakes, batch.images])
    labels = jnp.concatenate([y, batch.labels if algorithm.conditional else y])

    def loss(theta_d):
        logits, advanced = discriminate(model, {**state.params, **theta_d}, state.buffers, images, labels, train=True)
        logits_fake, logits_real = jnp.split(logits, 2)
        loss_real = jnp.mean(f(logits_real))
        loss_fake = jnp.mean(g(logits_fake))
        metrics = {
            "discriminator_loss_real": loss_real,
            "discriminator_loss_fake": loss_fake,
            "logits_real": jnp.mean(logits_real),
            "logits_fake": jnp.mean(logits_fake),
        }
        return loss_real + loss_fake, (advanced, metrics)

    theta_d = {part: state.params[part] for part in model.discriminator_parts}
    gradients, (buffers, metrics) = jax.grad(loss, has_aux=True)(theta_d)
    state, norm = apply_gradients(algorithm, state.replace(buffers=buffers), "discriminator", gradients)
    return state, {**metrics, "gradient_norm_discriminator": norm}


def update_generator(algorithm, state, latents):
    """Lines 14 to 17: one update of theta_g and theta_c on h(D(x~)), Loss I.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      latents: `Latents` of B draws.

    Returns:
      The state, and metrics: scalars.
    """
    y, eps = latents
    model, (_, _, h) = algorithm.model, algorithm.adversarial

    def loss(theta_g, theta_c):
        params = {**state.params, **theta_g, **theta_c}
        z = model.prior.sampling_mixture(params["prior"]).sample(y, eps)
        fakes, buffers = generate(model, params, state.buffers, z, y, train=True)
        logits, buffers = discriminate(model, params, buffers, fakes, y, train=True)
        return jnp.mean(h(logits)), buffers

    theta_g, theta_c = ({part: state.params[part]} for part in ("generator", "prior"))
    (value, buffers), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(theta_g, theta_c)
    state, generator_norm = apply_gradients(algorithm, state.replace(buffers=buffers), "generator", gradients[0])
    state, prior_norm = apply_gradients(algorithm, state, algorithm.prior_generator_optimizer, gradients[1])
    norms = {"gradient_norm_generator": generator_norm, "gradient_norm_prior_generator": prior_norm}
    return state, {"generator_loss": value, **norms}


def update_prior(algorithm, state, latents, mean, log_var):
    """Lines 25 and 26: one update of theta_c on L_c + lambda_p L_p (released: and on L_q through z)."""
    y, eps = latents
    prior = algorithm.model.prior

    def loss(theta_c):
        z = prior.sampling_mixture(theta_c["prior"]).sample(y, eps)
        log_memberships = losses.log_membership(z, prior.membership_mixture(theta_c["prior"]))
        cross_entropy = jnp.mean(losses.membership_cross_entropy(y, log_memberships))
        negative_entropy = losses.prior_negative_entropy(prior.entropy_mixture(theta_c["prior"]))
        value = cross_entropy + algorithm.prior_weight * negative_entropy
        if algorithm.conventions.latent_gradient:
            nll = losses.gaussian_nll(z, mean, log_var, algorithm.conventions.log_constant)
            value += jnp.mean(nll) / _image_size(algorithm)
        return value, {
            "membership_cross_entropy": cross_entropy,
            "prior_negative_entropy": negative_entropy,
            "prior_accuracy": jnp.mean(jnp.argmax(log_memberships, axis=-1) == y),
        }

    gradients, metrics = jax.grad(loss, has_aux=True)({"prior": state.params["prior"]})
    state, norm = apply_gradients(algorithm, state, "prior", gradients)
    return state, {**metrics, "gradient_norm_prior": norm}


def _image_size(algorithm):
    """dim(x): height x width x channels."""
    height, width, channels = algorithm.model.image_shape
    return height * width * channels


def update_encoder(algorithm, state, inputs):
    """Lines 19 to 27: one update of theta_e on L_q / dim(x); at the first step, of theta_c too.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      inputs: (`Latents` of B draws, bool scalar: whether this is the iteration's first encoder step).

    Returns:
      The state, and metrics: scalars (those of the prior mean something at the first step only).
    """
    (y, eps), is_first = inputs
    model = algorithm.model
    z = model.prior.sampling_mixture(state.params["prior"]).sample(y, eps)
    fakes, buffers = generate(model, state.params, state.buffers, z, y, train=True)

    def loss(theta_e):
        (mean, log_var), advanced = encode(model, {**state.params, **theta_e}, buffers, fakes, train=True)
        nll = jnp.mean(losses.gaussian_nll(z, mean, log_var, algorithm.conventions.log_constant))
        return nll / _image_size(algorithm), (advanced, mean, log_var, nll)

    theta_e = {part: state.params[part] for part in model.encoder_parts}
    gradients, (buffers, mean, log_var, nll) = jax.grad(loss, has_aux=True)(theta_e)
    state, norm = apply_gradients(algorithm, state.replace(buffers=buffers), "encoder", gradients)
    stepped, metrics = update_prior(algorithm, state, (y, eps), mean, log_var)
    keep = {"params": state.params["prior"], "optimizer": state.optimizers["prior"]}
    move = {"params": stepped.params["prior"], "optimizer": stepped.optimizers["prior"]}
    chosen = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), move, keep)
    state = state.replace(
        params={**state.params, "prior": chosen["params"]},
        optimizers={**state.optimizers, "prior": chosen["optimizer"]},
    )
    latent_mse = jnp.mean(jnp.sum((z - mean) ** 2, axis=-1))
    return state, {**metrics, "encoder_nll": nll, "latent_mse": latent_mse, "gradient_norm_encoder": norm}


def update_ema(algorithm, state):
    """Ends the iteration: counts it and moves the generator's average, weights, statistics and u alike.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.

    Returns:
      The state.
    """
    iteration = state.iteration + 1
    weight = jnp.where(iteration < algorithm.ema_start, 1.0, 1.0 - algorithm.ema_decay)
    newest = {"params": state.params["generator"], "buffers": state.buffers["generator"]}
    return state.replace(iteration=iteration, ema=optax.incremental_update(newest, state.ema, weight))


def train_iteration(algorithm, state, batch, noise):
    """One iteration of Algorithm 1, lines 7 to 28. Pure: all randomness is in `batch` and `noise`.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      batch: `Batch` with images [D_steps, B, H, W, C] in [-1, 1] and labels [D_steps, B] (or None).
      noise: the `Noise`.

    Returns:
      The state, and a trace: metrics by phase, with a leading axis of steps for "discriminator" and "encoder".
    """
    is_first = jnp.arange(algorithm.encoder_steps) == 0
    with algorithm.model.precision.scope():  # for the gradients too, which are traced after the networks
        state, critic = update_discriminator_repeatedly(algorithm, state, batch, noise.discriminator)
        state, generated = update_generator(algorithm, state, noise.generator)
        state, encoded = lax.scan(functools.partial(update_encoder, algorithm), state, (noise.encoder, is_first))
    return update_ema(algorithm, state), {"discriminator": critic, "generator": generated, "encoder": encoded}


FIRST_STEP_METRICS = ("membership_cross_entropy", "prior_negative_entropy", "prior_accuracy", "gradient_norm_prior")


def summarize(algorithm, trace):
    """One scalar per metric: the last step's, and for the prior the first encoder step's.

    Args:
      algorithm: the `Algorithm`.
      trace: from `train_iteration`.

    Returns:
      Scalars by name; averaged over the pmap axis if there is one.
    """
    metrics = {name: values[-1] for name, values in trace["discriminator"].items()} | trace["generator"]
    for name, values in trace["encoder"].items():
        metrics[name] = values[0] if name in FIRST_STEP_METRICS else values[-1]
    return metrics if algorithm.axis_name is None else lax.pmean(metrics, algorithm.axis_name)


def train_iterations(algorithm, state, examples, noise_key, layout=None):
    """Several iterations of Algorithm 1 in one program.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      examples: `Examples` with images [iterations, D_steps, B, H, W, C], from a loader.
      noise_key: the run's PRNG key for noise.
      layout: the `Layout` of the devices that share the work; None leaves it to the shardings of the inputs.

    Returns:
      The state, and metrics by name, each [iterations].
    """

    def one(state, examples):
        draws = draw_augmentation(algorithm.augmentation, noise_key, state.iteration, examples.images.shape[:2])
        examples = augment(algorithm.augmentation, examples, *draws)
        noise = draw_noise(algorithm, noise_key, state.iteration)
        noise = noise if layout is None else split_noise(noise, layout)
        state, trace = train_iteration(algorithm, state, to_batch(examples), noise)
        state = state if layout is None else layout.pin(state)
        return state, summarize(algorithm, trace)

    return lax.scan(one, state, examples)


# The same function for equal arguments, so that runs which are alike compile once.
@functools.lru_cache(maxsize=8)
def compile_train_iterations(algorithm, layout=None):
    """`train_iterations` as a jitted function of (state, examples, noise key) that reuses the memory of its state.

    Args:
      algorithm: the `Algorithm`.
      layout: the `Layout` of the devices; None is the first one.

    Returns:
      The jitted function; it compiles once per number of iterations. With several seeds all arguments and results have
      a leading axis of them.
    """
    program, options = functools.partial(train_iterations, algorithm, layout=layout), compiler_options()
    if layout is None:
        return jax.jit(program, donate_argnums=0, compiler_options=options)
    if layout.num_seeds > 1:
        program = jax.vmap(program, spmd_axis_name="seed")
    shardings = (layout.state(state_shapes(algorithm)), layout.replicated)
    return jax.jit(program, donate_argnums=0, out_shardings=shardings, compiler_options=options)


class Noise(NamedTuple):
    """All draws of one iteration.

    Attributes:
      discriminator: [D_steps, B].
      generator: [B].
      encoder: [E_steps, B].
    """

    discriminator: Latents
    generator: Latents
    encoder: Latents


def draw_noise(algorithm, key, iteration):
    """The noise of one iteration, a function of the seed's key and the iteration alone.

    Args:
      algorithm: the `Algorithm`.
      key: the run's PRNG key for noise.
      iteration: integer scalar.

    Returns:
      A `Noise`.
    """
    keys = jax.random.split(jax.random.fold_in(key, iteration), 3)
    critic, encoder = algorithm.discriminator_steps, algorithm.encoder_steps
    # The same for all phases, and then cut: XLA compiles one generator instead of three, and a draw does not depend on
    # how many follow it.
    shape = (max(critic, encoder), algorithm.batch_size)
    latents = jax.vmap(functools.partial(draw_latents, shape=shape, prior=algorithm.model.prior))(keys)

    def cut(*index):
        return jax.tree.map(operator.itemgetter(index), latents)

    return Noise(cut(0, slice(critic)), cut(1, 0), cut(2, slice(encoder)))


def split_noise(noise, layout):
    """Divides noise over devices like the batch that it makes; else every device would generate all of it.

    Args:
      noise: `Noise`.
      layout: the `Layout`.

    Returns:
      The same noise.
    """
    axes = Noise(discriminator=(None, "batch"), generator=("batch",), encoder=(None, "batch"))
    return Noise(*(
        Latents(*(layout.constrain(part, *spread) for part in latents))
        for latents, spread in zip(noise, axes, strict=True)
    ))  # fmt: skip
