"""Mutated picture files: each is refused as damaged, or has Pillow's own pixels.

python -m tests.data.fuzz_pictures COUNT SEED
"""

import collections
import io
import struct
import sys
import time
import warnings
import zlib

import numpy as np
from PIL import Image

from mpcc_jax.data.folder import DAMAGE
from mpcc_jax.data.images import read_picture

SIZE = 8
PLAIN = ("1", "L", "RGB", "CMYK", "YCbCr")  # modes that Pillow converts without transparency or another depth


def make_files(rng):
    """Valid files of all formats and modes, by name."""
    pixels = rng.integers(0, 256, (SIZE, SIZE, 4)).astype(np.uint8)
    deep = Image.fromarray(rng.integers(0, 65536, (SIZE, SIZE)).astype(np.uint16))
    rgba, rgb = Image.fromarray(pixels), Image.fromarray(pixels[..., :3].copy())
    gray = Image.fromarray(pixels[..., 0].copy())
    palette = rgb.quantize(16)
    exif = Image.Exif()
    exif[0x112], exif[0x11A], exif[0x8298] = 6, 72.0, "somebody"
    images = {
        "1.png": (gray.convert("1"), {}),
        "L.png": (gray, {"transparency": 3}),
        "LA.png": (rgba.convert("LA"), {}),
        "P.png": (palette, {"transparency": 2}),
        "P_alpha.png": (palette, {"transparency": bytes(range(0, 160, 10))}),
        "RGB.png": (rgb, {"transparency": (1, 2, 3), "exif": exif}),
        "RGBA.png": (rgba, {}),
        "I16.png": (deep, {}),
        "L.jpg": (gray, {"exif": exif}),
        "RGB.jpg": (rgb, {"exif": exif, "progressive": True}),
        "CMYK.jpg": (rgb.convert("CMYK"), {}),
        "RGB.webp": (rgb, {"exif": exif, "lossless": True}),
        "RGBA.webp": (rgba, {}),
        "1.bmp": (gray.convert("1"), {}),
        "P.bmp": (palette, {}),
        "RGB.bmp": (rgb, {}),
        "RGBA.bmp": (rgba, {}),
    }
    files = {}
    for name, (image, options) in images.items():
        stream = io.BytesIO()
        image.save(stream, {"jpg": "JPEG"}.get(name.partition(".")[2], name.partition(".")[2]), **options)
        files[name] = stream.getvalue()
    return files


def repair_checksums(data):
    """Gives the chunks of a PNG file their checksums, so that a mutation is read and not refused at once."""
    chunks, position = [data[:8]], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        body = data[position + 4 : position + 8 + length]
        chunks.append(data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body)))
        position += 12 + length
    return b"".join(chunks)


def mutate(data, rng):
    """Changes, inserts, removes or repeats some bytes, most of them in the headers."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        reach = len(data) if rng.random() < 0.4 else min(len(data), 120)
        at, kind = int(rng.integers(0, reach)), rng.integers(0, 10)
        if kind < 6:
            data[at] = int(rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.integers(0, 256)]))
        elif kind == 6:
            data[at:at] = rng.integers(0, 256, rng.integers(1, 9)).astype(np.uint8).tobytes()
        elif kind == 7:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 8:
            data[at:at] = data[at : at + int(rng.integers(1, 30))]
        elif rng.random() < 0.3:
            del data[at + 8 :]
        if not data:
            return b""
    data = bytes(data)
    return repair_checksums(data) if data[:4] == b"\x89PNG" and rng.random() < 0.7 else data


def compare(data):
    """Reads a file by the package and by Pillow; returns what came out, and raises where they do not agree."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            # What the package is to make of it, where that is simple.
            simple = image.mode in PLAIN and "transparency" not in image.info and image.size == (SIZE, SIZE)
            expected = np.asarray(image.convert("RGB")).reshape(-1, 3) if simple else None
            wide = image.mode.startswith("I") or image.mode == "F"
    except Exception:  # whatever Pillow raises, the package is to raise what it calls damage
        expected, decoded, wide = None, False, False
    else:
        decoded = True
    try:
        pixels = read_picture(io.BytesIO(data), SIZE, 3)
    except DAMAGE as error:
        if decoded and not (wide and "32-bit pixels" in str(error)):
            raise AssertionError(f"refused, and Pillow decodes it: {error!r}") from error
        return "refused"
    assert pixels.shape == (SIZE, SIZE, 3)
    if expected is not None:  # turned or not, it has the same pixels
        order = [
            np.sort(values.reshape(-1, 3).view([("", np.uint8)] * 3).ravel()) for values in (pixels.copy(), expected)
        ]
        np.testing.assert_array_equal(*order)
        return "same pixels"
    return "read"


def run(count, seed):
    """Mutates `count` files; returns how often what came out."""
    rng = np.random.default_rng(seed)
    files = list(make_files(rng).items())
    results, before = collections.Counter(), Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 100_000  # a mutated size is refused before it takes memory
    try:
        for index in range(count):
            name, data = files[index % len(files)]
            mutated = mutate(data, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of damaged files
                try:
                    results[compare(mutated)] += 1
                except Exception as error:
                    error.add_note(f"{name}, mutation {index} of seed {seed}: {mutated.hex()}")
                    raise
    finally:
        Image.MAX_IMAGE_PIXELS = before
    return results


if __name__ == "__main__":
    number, start = int(sys.argv[1]), time.process_time()
    print(dict(run(number, int(sys.argv[2]))), f"{time.process_time() - start:.0f} processor seconds")
