"""The example runs, with a run that is there already, and without drawing its report."""

from PIL import Image

from examples import cluster_my_photos
from mpcc_jax.cli import commands
from tests.conftest import SMALL_IMAGES
from tests.trained import make_run


def test_photos_are_sorted_by_cluster(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(SMALL_IMAGES[..., 0]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
    workdir, configs, reported = make_run(tmp_path / "run"), [], []
    monkeypatch.setattr(cluster_my_photos, "train", lambda config, workdir: configs.append(config))
    monkeypatch.setattr(commands, "report", reported.append)
    cluster_my_photos.main(str(tmp_path / "photos"), "3", "2", str(workdir))
    (config,) = configs
    assert (config.data.name, config.model.num_clusters) == (f"folder:{tmp_path / 'photos'}", 3)
    assert config.training.iterations == 2
    copies = [path.name for path in (workdir / "sorted").rglob("*.png")]
    assert sorted(copies) == sorted(f"{index}.png" for index in range(20))
    assert reported == [str(workdir)]
