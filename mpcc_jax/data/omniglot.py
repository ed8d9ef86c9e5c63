"""Omniglot with 100 classes, by the procedure of IMSAT (the paper's [24]): characters, drawings, affine copies."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from mpcc_jax.data.dataset import Block, Reader, Source
from mpcc_jax.data.images import fit_picture
from mpcc_jax.data.tfds import find_prepared, open_records, stored_splits, tfds_dir, tfds_source
from mpcc_jax.errors import DataError

DRAWINGS = 20
IMSAT_ALPHABETS = ("Alphabet_of_the_Magi", "Anglo-Saxon_Futhorc", "Korean", "Greek")
PAPER = 255
Characters = dict[int, tuple[int, list[np.ndarray]]]  # by label: the alphabet's id, and drawings, uint8 [H, W]


def omniglot_source(settings: ConfigDict) -> Source:
    """Returns Omniglot100: of split "train" (30 alphabets) where it is prepared, otherwise of small1 and small2."""
    path = find_prepared(tfds_dir(settings), "omniglot")
    prepared = {part["name"] for part in stored_splits(path)} if path else set()
    split = "train" if "train" in prepared or not prepared else "+".join(sorted(prepared & {"small1", "small2"}))
    source = tfds_source(settings, "omniglot100", "omniglot", split)
    return dataclasses.replace(
        source,
        open=functools.partial(_open, path, source.split, settings.omniglot, settings.labels),
        identity={**source.identity, "omniglot": settings.omniglot.to_dict()},
    )


def _open(path: Path, split: str, settings: ConfigDict, with_labels: bool, resolution: int) -> Reader:
    builder, records = open_records(path, split, "omniglot100")
    characters = read_characters(records)
    names = builder.info.features["alphabet"].names
    chosen, note = choose_characters(characters, names, settings)
    drawings = [drawing for label in chosen for drawing in characters[label][1][:DRAWINGS]]
    labels = np.repeat(np.arange(len(chosen), dtype=np.int32), DRAWINGS)

    def read(start: int, stop: int) -> Block:
        images = []
        for index in range(start, stop):
            drawing, copy = divmod(index, settings.copies)
            rng = np.random.default_rng([settings.seed, drawing, copy])
            images.append(fit_picture(distort(drawings[drawing], *draw_affine(rng, settings)), resolution, 1))
        return Block(np.stack(images), labels[np.arange(start, stop) // settings.copies] if with_labels else None)

    return Reader(
        count=len(drawings) * settings.copies,
        channels=1,
        read=read,
        class_names=tuple(f"{names[characters[label][0]]} {label}" for label in chosen) if with_labels else None,
        notes=(note, f"{DRAWINGS} drawings of each and {settings.copies} affine copies of each drawing"),
    )


def read_characters(records: Any) -> Characters:
    """Reads all distinct characters of a TFDS data source, each with its distinct drawings, sorted by content."""
    characters = {}  # small1 and small2 share two alphabets, the same drawings in both
    for start in range(0, len(records), 512):
        for example in records.__getitems__(range(start, min(start + 512, len(records)))):
            drawing = example["image"][..., 0]
            if drawing.max() <= 1:
                # Pillow decodes 1-bit PNGs, as Omniglot is published in, to 0 and 1.
                drawing = drawing.astype(np.uint8) * 255
            _, drawings = characters.setdefault(int(example["label"]), (int(example["alphabet"]), {}))
            drawings[drawing.tobytes()] = drawing
    return {
        label: (alphabet, [drawings[content] for content in sorted(drawings)])
        for label, (alphabet, drawings) in sorted(characters.items())
    }


def choose_characters(characters: Characters, alphabet_names: list[str], settings: ConfigDict) -> tuple[list[int], str]:
    """Draws the classes from IMSAT's four alphabets if all are there, else from all; returns labels and a note."""
    present = {alphabet_names[alphabet] for alphabet, _ in characters.values()}
    pool = set(IMSAT_ALPHABETS) if present.issuperset(IMSAT_ALPHABETS) else present
    candidates = [
        label
        for label, (alphabet, drawings) in characters.items()
        if alphabet_names[alphabet] in pool and len(drawings) >= DRAWINGS
    ]
    if len(candidates) < settings.classes:
        raise DataError(
            f"config.data.omniglot.classes is {settings.classes}; allowed: at most {len(candidates)}, the characters "
            f"with {DRAWINGS} drawings in {', '.join(sorted(pool))}."
        )
    rng = np.random.default_rng([settings.seed, len(candidates)])
    chosen = sorted(rng.choice(candidates, settings.classes, replace=False).tolist())
    return chosen, f"{settings.classes} of {len(candidates)} characters of {', '.join(sorted(pool))}"


def draw_affine(
    rng: np.random.Generator, settings: ConfigDict
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
    """Draws the matrix and the shift of an affine map about the centre, each part with `settings.probability`.

    Largest deviations: `rotation` in degrees, `shear` as a slope, `scale` around 1, `shift` in pixels of the drawing.
    """
    limits = np.repeat([settings.rotation, settings.shear, settings.scale, settings.shift], [1, 2, 2, 2])
    drawn = rng.uniform(-1.0, 1.0, 7) * limits * (rng.uniform(size=7) < settings.probability)
    angle = math.radians(drawn[0])
    rotation = np.asarray([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.asarray([[1.0, drawn[1]], [drawn[2], 1.0]])
    return rotation @ shear @ np.diag(1.0 + drawn[3:5]), drawn[5:7]


def distort(
    drawing: UInt8[np.ndarray, "H W"], matrix: Float[np.ndarray, "2 2"], shift: Float[np.ndarray, " 2"]
) -> Image.Image:
    """Draws the drawing under an affine map about its centre, on white paper; the shift is in pixels, (x, y)."""
    height, width = drawing.shape
    centre = np.asarray([width / 2, height / 2])
    # Pillow asks where each pixel of the copy comes from.
    inverse = np.linalg.inv(matrix)
    offset = centre - inverse @ (centre + shift)
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    return Image.fromarray(drawing).transform(
        (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=PAPER
    )
