"""Augmentation: identities, shifts, closed forms of rotation and scale, draws, and what training makes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mpcc_jax.augmentation import _NUM_DRAWS, Augmentation, augment, draw_transforms, tangents
from mpcc_jax.training.state import build_algorithm
from mpcc_jax.training.steps import draw_noise, train_iteration
from tests.conftest import draw_inputs, tiny_config

KEY = jax.random.key(3)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 2)).astype(np.float32)
only = functools.partial(Augmentation, shift=0.0, rotation=0.0, scale=0.0, shear=0.0)
ALL = Augmentation(
    1.0, shift=0.2, rotation=12, scale=0.1, shear=0.1, flip=True, brightness=0.2, contrast=0.3, cutout=0.3
)
COLUMNS = {"shift_down": 1, "shift_right": 2, "rotation": 3, "scale": 4, "shear": 5, "flip": 6, "brightness": 7}


def draws(count=6, **signed):
    """Draws that change nothing but for what is named, from -1 to 1."""
    values = np.full((count, _NUM_DRAWS), 0.5, np.float32)
    for name, value in signed.items():
        values[:, COLUMNS[name]] = (1 + value) / 2
    return jnp.asarray(values)


@pytest.mark.parametrize("border", ["black", "edge", "reflect"])
def test_nothing_drawn_is_the_identity(border):
    augmented = augment(ALL._replace(cutout=0.0, border=border), IMAGES, draws())
    np.testing.assert_allclose(augmented, IMAGES, atol=1e-6)


def test_without_transforms_images_are_the_same_object():
    assert augment(Augmentation(), IMAGES, None) is IMAGES
    assert draw_transforms(Augmentation(), KEY, 0, 4, 2, 1) == (None, None, None)


def test_probability_is_the_share_of_images_that_change():
    chosen = only(0.3, shift=0.2)
    images = jnp.asarray(np.repeat(IMAGES[:1], 4000, 0))
    uniform = jax.random.uniform(KEY, (4000, _NUM_DRAWS))
    changed = np.any(np.asarray(augment(chosen, images, uniform)) != images, axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, uniform[:, 0] < 0.3)


@pytest.mark.parametrize(("border", "mode"), [("black", "constant"), ("edge", "nearest"), ("reflect", "mirror")])
@pytest.mark.parametrize(("down", "right"), [(0, 2), (-1, 0), (2, -1)])
def test_whole_shifts_are_those_of_scipy(border, mode, down, right):
    """Both say where a pixel comes from."""
    chosen = only(1.0, shift=0.25, border=border)
    augmented = augment(chosen, IMAGES, draws(shift_down=down / 2, shift_right=right / 2))
    expected = [ndimage.shift(image, (-down, -right, 0), order=1, mode=mode, cval=-1.0) for image in IMAGES]
    np.testing.assert_allclose(augmented, expected, atol=1e-5)


def test_mirroring():
    chosen = only(1.0, flip=True)
    np.testing.assert_allclose(augment(chosen, IMAGES, draws(flip=-0.1)), IMAGES[:, :, ::-1], atol=1e-6)


@pytest.mark.parametrize("moves", [{"rotation": 1}, {"rotation": -0.5, "shear": 1}, {"scale": -1, "shift_down": 0.5}])
def test_a_smooth_image_is_moved_as_its_formula(moves):
    """Of a plane wave, interpolation and the two passes are exact up to curvature: errors below 1 % of the range."""
    size, limits = 32, Augmentation(1.0, shift=0.1, rotation=12, scale=0.1, shear=0.1)
    signed = dict.fromkeys(COLUMNS, 0) | moves
    angle = np.deg2rad(limits.rotation) * signed["rotation"]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = (1 + limits.scale) ** signed["scale"] * turn @ np.array([[1, limits.shear * signed["shear"]], [0, 1]])
    shift = limits.shift * size * np.array([signed["shift_right"], signed["shift_down"]])

    def wave(x, y):
        return 0.9 * np.sin(0.15 * x + 0.1 * y)

    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    sources = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y])) + shift[:, None, None]
    image = wave(x, y)[None, ..., None].astype(np.float32)
    augmented = np.asarray(augment(limits, image, draws(1, **moves)))[0, ..., 0]
    within = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(augmented[within], wave(*sources)[within], atol=0.02)


def test_colours_in_closed_form():
    chosen = only(1.0, brightness=0.2)
    np.testing.assert_allclose(augment(chosen, IMAGES, draws(brightness=1)), np.clip(IMAGES + 0.2, -1, 1), atol=1e-6)
    values = draws().at[:, 8].set(1.0)
    mean = IMAGES.mean(axis=(1, 2, 3), keepdims=True)
    expected = np.clip(mean + 1.5 * (IMAGES - mean), -1, 1)
    np.testing.assert_allclose(augment(only(1.0, contrast=0.5), IMAGES, values), expected, atol=1e-6)


def test_cutout_is_a_gray_square():
    augmented = np.array(augment(only(1.0, cutout=0.5), IMAGES, draws()))
    np.testing.assert_array_equal(augmented[:, 2:6, 2:6], 0.0)
    augmented[:, 2:6, 2:6] = IMAGES[:, 2:6, 2:6]
    np.testing.assert_array_equal(augmented, IMAGES)


def test_moving_is_linear_and_its_gradient_the_adjoint():
    """<T'x, y> = <x, T y>, and everything stays in [-1, 1]."""
    chosen, uniform = ALL._replace(brightness=0.0, contrast=0.0, cutout=0.0), jax.random.uniform(KEY, (6, _NUM_DRAWS))
    move = functools.partial(augment, chosen, draws=uniform)
    with jax.enable_x64(True):
        x, y = np.random.default_rng(1).uniform(-0.5, 0.5, (2, *IMAGES.shape))
        value, pull = jax.vjp(move, x)
        (pulled,) = pull(y)
        offset = np.asarray(move(np.zeros_like(x)))
        np.testing.assert_allclose(np.sum((value - offset) * y), np.sum(x * pulled), rtol=1e-10)
    augmented = np.asarray(augment(ALL, IMAGES, uniform))
    assert augmented.min() >= -1
    assert augmented.max() <= 1
    assert not np.allclose(augmented, IMAGES)


def test_tangents_in_closed_form():
    """Of a ramp whose middle is black plus a half: shifts, brightness and contrast move it by known amounts."""
    ramp = jnp.broadcast_to(jnp.linspace(-0.7, 0.7, 8)[:, None, None], (1, 8, 8, 1))
    slope = 1.4 / 7
    moved = tangents(only(0.3, shift=0.1, brightness=0.2, contrast=0.3, border="edge", flip=True, cutout=0.5), ramp)
    expected = np.zeros((1, 7, 8, 8, 1), np.float32)
    expected[:, 0] = 0.1 * 8 * slope
    expected[:, 5] = 0.2
    expected[:, 6] = 0.3 * ramp
    np.testing.assert_allclose(moved[:, :, 1:-1], expected[:, :, 1:-1], atol=1e-6)
    np.testing.assert_array_equal(tangents(ALL._replace(probability=0.0), IMAGES), 0.0)


def test_tangents_are_derivatives_of_a_smooth_image():
    grid = np.linspace(0.0, 1.0, 24)
    images = jnp.asarray(np.sin(3 * grid[:, None] + 2 * grid)[None, :, :, None])
    augmentation = only(1.0, rotation=2.0, scale=0.02, shear=0.02, border="edge")
    moved = tangents(augmentation, images)
    for column in (3, 4, 5):
        ahead, behind = (augment(augmentation, images, draws(1).at[:, column].add(step)) for step in (0.5, -0.5))
        most = (ahead - behind) / 2
        np.testing.assert_allclose(moved[0, column - 1, 4:-4, 4:-4], most[0, 4:-4, 4:-4], atol=1e-3)
        assert np.abs(most).max() > 1e-2


def test_draws_depend_on_key_iteration_and_phase():
    first, again, other = (draw_transforms(ALL, KEY, number, 4, 2, 3) for number in (5, 5, 6))
    assert [part.shape for part in first] == [(2, 8, _NUM_DRAWS), (4, _NUM_DRAWS), (3, 4, _NUM_DRAWS)]
    jax.tree.map(np.testing.assert_array_equal, first, again)
    values = np.concatenate([np.ravel(part) for part in (*first, *other)])
    assert len(np.unique(values)) > 0.99 * values.size
    only = draw_transforms(ALL._replace(where="encoder"), KEY, 5, 4, 2, 3)
    assert (only.discriminator, only.generator) == (None, None)
    np.testing.assert_array_equal(only.encoder, first.encoder)


@pytest.mark.parametrize("where", ["discriminator", "encoder"])
def test_it_changes_the_networks_that_see_it(where, algorithm, state):
    """The first D step is bit for bit that without T unless T is before D; the encoder step differs either way."""
    config = tiny_config()
    config.augmentation.update({"probability": 1.0, "rotation": 20.0, "where": where})
    chosen = build_algorithm(config, 1)
    batch, noise = draw_inputs(algorithm)
    transforms = draw_noise(chosen, KEY, 0).transforms
    _, plain = jax.jit(functools.partial(train_iteration, algorithm))(state, batch, noise)
    _, seen = jax.jit(functools.partial(train_iteration, chosen))(state, batch, noise._replace(transforms=transforms))
    same = np.array_equal(plain["discriminator"]["logits_real"][0], seen["discriminator"]["logits_real"][0])
    assert same == (where == "encoder")
    nll = [np.asarray(trace["encoder"]["encoder_nll"])[0] for trace in (plain, seen)]
    assert nll[0] != nll[1]
