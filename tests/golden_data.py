"""Reading the golden data: numbers computed by running the released code (tests/golden/README.md)."""

import functools
import json
import pathlib

import jax.numpy as jnp
import numpy as np

from mpcc_jax.config import default_config
from mpcc_jax.data.loader import Batch
from mpcc_jax.prior import Latents
from mpcc_jax.released.convert import from_released
from mpcc_jax.training.state import build_algorithm
from mpcc_jax.training.steps import Noise

GOLDEN = pathlib.Path(__file__).parent / "golden"


@functools.cache
def load(name):
    """Arrays by key, and the configuration they were made with."""
    with np.load(GOLDEN / name) as file:
        arrays = {key: file[key] for key in file.files if key != "meta"}
        return arrays, json.loads(str(file["meta"]))


def released_config(meta):
    """Our configuration of a golden file's."""
    config = default_config()
    config.variant = "released"
    config.data.resolution = meta["resolution"]
    config.model.channels = meta["G_ch"]
    config.model.latent_dim = meta["dim_z"]
    config.model.num_clusters = meta["n_classes"]
    if meta["hier"]:
        config.model.conditioning = "shared" if meta["shared_hier"] else "split"
    config.prior.sigma_min = meta["sigma"]
    config.loss.prior_weight = meta["is_loss3"]
    config.model.share_blocks = meta["is_enc_shared"]
    config.training.conditional = meta["is_disc_cond_y"]
    if "iterations" in meta:
        config.training.batch_size = meta["batch_size"]
        config.training.learning_rate = meta["G_lr"]
        config.training.prior_learning_rate = meta["P_lr"]
        config.ema.update({"decay": meta["ema_decay"], "start": meta["ema_start"]})
    return config


def released_algorithm(meta):
    return build_algorithm(released_config(meta), meta["dataset_channel"])


def subset(arrays, prefix):
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def read_networks(model, arrays, dtype):
    """params and buffers from the keys G.*, D.*, E.*, P.*."""
    networks = {key: value.astype(dtype) for key, value in arrays.items() if key[:2] in ("G.", "D.", "E.", "P.")}
    return from_released(model, networks)


def images(array, dtype):
    """NCHW to NHWC."""
    return jnp.asarray(np.moveaxis(array, -3, -1), dtype)


def iteration_inputs(arrays, iteration, dtype):
    """The real images and the noise of one iteration of the training trajectory: 4 D, 1 G and 4 E steps."""
    real = images(arrays["real.x"][iteration], dtype)
    labels = jnp.asarray(arrays["real.y"][iteration], jnp.int32)
    steps = slice(9 * iteration, 9 * iteration + 9)
    y = jnp.asarray(arrays["noise.y"][steps], jnp.int32)
    eps = jnp.asarray(arrays["noise.eps"][steps], dtype)
    noise = Noise(Latents(y[:4], eps[:4]), Latents(y[4], eps[4]), Latents(y[5:], eps[5:]))
    return Batch(real.reshape(4, -1, *real.shape[1:]), labels.reshape(4, -1)), noise
