"""The example runs, with a tiny network and without drawing its report."""

from PIL import Image

from configs import folder
from examples import cluster_my_photos
from mpcc_jax.cli import commands
from tests.conftest import SMALL_IMAGES, tiny_config


def test_photos_are_sorted_by_cluster(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(SMALL_IMAGES[..., 0]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
    reported = []
    monkeypatch.setattr(folder, "get_config", tiny_config)
    monkeypatch.setattr(commands, "report", reported.append)
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path / "cache"))
    workdir = str(tmp_path / "run")
    cluster_my_photos.main(str(tmp_path / "photos"), "3", "2", workdir)
    copies = [path.name for path in (tmp_path / "run" / "sorted").rglob("*.png")]
    assert sorted(copies) == sorted(f"{index}.png" for index in range(20))
    assert reported == [workdir]
