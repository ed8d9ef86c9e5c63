"""What a machine without a network needs to train a published run: its data, and the packages that it lacks.

    python -m deploy.gpu_lease.pack --config configs/mnist.py --out .carry --config.data.dir=DIR
    python -m deploy.gpu_lease.pack --config configs/cifar10.py --out .carry --encoded --config.data.dir=DIR

writes .carry/data.npz (images at the run's resolution, labels), or with --encoded .carry/data.zip (the pictures as
TFDS stores them, a folder for each class: smaller for JPEG), and wheels in .carry/wheels. call.sh uses them.
"""

import pathlib
import subprocess
import sys
import zipfile

import numpy as np
from absl import app, flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment in configs/.", lock_config=True)
OUT = flags.DEFINE_string("out", None, "A new folder.", required=True)
ENCODED = flags.DEFINE_bool("encoded", False, "Pack the pictures as they are stored.")
PYTHON = flags.DEFINE_string("python", "3.12", "Version there.")
WHEELS = flags.DEFINE_list("wheels", ["ml_collections", "clu", "tensorboardX"], "Packages missing there.")
LIMIT = 60 * 2**20  # bytes that may be carried, less what the repository has


def write_arrays(config, path):
    """Writes the data set of a configuration, read and resized as training does.

    Args:
      config: the configuration.
      path: of the .npz.
    """
    from mpcc_jax.data import load_dataset

    dataset = load_dataset(config)
    images = np.asarray(dataset.images)
    labels = {} if dataset.labels is None else {"labels": np.asarray(dataset.labels)}
    np.savez_compressed(path, images=images, **labels)


def write_encoded(config, path):
    """Writes the pictures of a TFDS data set as they are stored, one folder per class, named in order.

    Args:
      config: the configuration.
      path: of the .zip.
    """
    import tensorflow_datasets as tfds

    from mpcc_jax.data.tfds_source import find_prepared, tfds_dir

    prepared = find_prepared(tfds_dir(config.data), config.data.name)
    if prepared is None:
        sys.exit(f"error: {config.data.name!r} is not prepared in {tfds_dir(config.data)}; allowed: TFDS data there.")
    builder = tfds.builder_from_directory(prepared)
    names = builder.info.features["label"].names
    split = config.data.split or "train+test"
    records = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for index, record in enumerate(records):
            ending = "png" if record["image"].startswith(b"\x89PNG") else "jpg"
            label = int(record["label"])
            archive.writestr(f"{label:03d}_{names[label]}/{index:06d}.{ending}", record["image"])


def main(argv):
    """Args: argv, the program's name."""
    del argv
    out = pathlib.Path(OUT.value)
    (out / "wheels").mkdir(parents=True, exist_ok=True)
    if ENCODED.value:
        write_encoded(CONFIG.value, out / "data.zip")
    else:
        write_arrays(CONFIG.value, out / "data.npz")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON.value, "--implementation", "cp", "--platform", "manylinux_2_28_x86_64"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(out / "wheels")]
    if WHEELS.value:
        subprocess.run([*command, *WHEELS.value], check=True)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > LIMIT:
        sys.exit(f"error: {out} has {size / 2**20:.1f} MiB; allowed: {LIMIT / 2**20:.0f}. Try --encoded, or a part.")
    print(f"{out}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
