"""The paper's sheets: which image is in which column, and that they come from the run."""

import numpy as np
import pytest
from PIL import Image

from mpcc_jax import load
from mpcc_jax.data.loader import to_float
from mpcc_jax.evaluation.features import to_uint8
from reproduce.figures import GAP, SIDE, draw_generated, draw_reconstructions, main
from tests.conftest import SMALL_IMAGES
from tests.trained import LABELS, make_run


class Fake:
    """Generates images whose gray is the cluster, and reconstructs the negative."""

    num_clusters, image_shape = 7, (2, 2, 1)

    def generate(self, key, n, cluster):
        assert cluster.shape == (n,)
        return np.broadcast_to((cluster / 127.5 - 1.0)[:, None, None, None], (n, *self.image_shape))

    def reconstruct(self, images):
        return -np.asarray(to_float(images))


def gray(sheet):
    """The value of every image of one value, [rows, columns]."""
    assert np.ptp(sheet, axis=(2, 3, 4)).max() == 0
    return sheet[..., 0, 0, 0]


def test_figure_2_has_two_columns_for_every_value_of_y():
    sheet, values = draw_generated(Fake(), num_rows=3)
    assert values.tolist() == list(range(7))
    np.testing.assert_array_equal(gray(sheet), [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]] * 3)
    sheet, values = draw_generated(Fake(), num_rows=2, num_values=3)
    np.testing.assert_array_equal(gray(sheet), [[0, 0, 3, 3, 6, 6]] * 2)


def numbered():
    """20 images: the tens of their gray are the label, the ones the number within it."""
    labels, numbers = np.repeat([0, 1, 2, 5], 5), np.tile(np.arange(5), 4)
    images = np.broadcast_to((10 * labels + numbers)[:, None, None, None], (20, 2, 2, 1)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(20)
    return images[order], labels[order]


def test_figure_3_has_real_images_in_odd_columns_sorted_by_label():
    sheet, classes = draw_reconstructions(Fake(), *numbered(), num_rows=5)
    assert classes.tolist() == [0, 1, 2, 5]
    real, again = gray(sheet)[:, ::2], gray(sheet)[:, 1::2]
    np.testing.assert_array_equal(real // 10, [[0, 1, 2, 5]] * 5)
    # No image of a class is there twice, and the reconstruction is beside its own image.
    np.testing.assert_array_equal(np.sort(real % 10, axis=0), np.tile(np.arange(5)[:, None], 4))
    np.testing.assert_array_equal(again, 255 - real)


def test_figure_3_repeats_images_of_small_classes_and_does_without_labels():
    sheet, classes = draw_reconstructions(Fake(), *numbered(), num_rows=7, num_pairs=2)
    assert classes.tolist() == [0, 5]
    assert set(gray(sheet)[:, 2].tolist()) == {50, 51, 52, 53, 54}
    sheet, classes = draw_reconstructions(Fake(), numbered()[0], num_rows=4, num_pairs=3)
    assert classes is None
    assert len(set(gray(sheet)[:, ::2].ravel().tolist())) == 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("figures") / "run")


def cells(path, num_rows, num_columns):
    """The 8x8 images of a PNG, [rows, columns, 8, 8]."""
    pixels = np.pad(np.asarray(Image.open(path).convert("L")), ((0, GAP), (0, GAP)))
    grid = pixels.reshape(num_rows, SIDE + GAP, num_columns, SIDE + GAP).swapaxes(1, 2)
    return grid[:, :, : SIDE : SIDE // 8, : SIDE : SIDE // 8]


def test_figure_3_of_a_run(run, tmp_path, capsys):
    out = tmp_path / "figure3.png"
    main(["figure3", "--workdir", str(run), "--out", str(out), "--rows=3"])
    shown = cells(out, 3, 4)
    for column, label in ((0, 0), (2, 1)):
        members = SMALL_IMAGES[label == LABELS][..., 0].tolist()
        assert all(image.tolist() in members for image in shown[:, column])
        again = to_uint8(load(run).reconstruct(shown[:, column, ..., None]))[..., 0]
        np.testing.assert_allclose(shown[:, column + 1].astype(int), again, atol=1)
    assert "classes from left to right: even, odd" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "figure.jpg"], r"--out is 'figure.jpg'; allowed: a name that ends in .png"),
        (["--rows=0"], "--rows is 0; allowed: 1 or more"),
        (["--workdir", "nowhere"], "--workdir is 'nowhere', which holds no run"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        main(["figure2", "--workdir", "nowhere", "--out", str(tmp_path / "figure.png"), *arguments])
