"""From one image file to uint8 pixels; run as a program, this file is a decoding process.

It imports NumPy and Pillow only, so that a decoding process starts in a fraction of a second and
holds none of PyTorch's memory. As a program it reads one job per line (JSON: the keyword arguments
of `decode_all`) and answers each with a line of JSON, followed by the raw pixels if all went well.
"""

import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import BinaryIO

if __name__ == "__main__":                               # our neighbours must not pose as somebody's modules
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]

import numpy as np
from PIL import Image, ImageOps

WIDE_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")     # 16 bits in all but name
GREY = ("1", "L", "LA", "La", *WIDE_GREY)
RESIZES = ("crop", "squash")
ORIENTATION, SWAPS_SIDES = 0x0112, (5, 6, 7, 8)          # EXIF: the tag, and its values for quarter turns


class ImageProblem(Exception):
    """An image that does not fit: `kind` is 'broken', 'colour' or 'size'; `text` says how."""

    def __init__(self, kind: str, path: str | os.PathLike, text: str) -> None:
        super().__init__(kind, path, text)
        self.kind, self.path, self.text = kind, path, text


def peek(path: str | os.PathLike) -> tuple[tuple[int, int], bool]:
    """Return ((H, W) as displayed, whether grey) from the header of the file alone."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in SWAPS_SIDES
            return (width, height) if turned else (height, width), image.mode in GREY
    except Exception as error:                           # Pillow's plugins raise all sorts on a bad header
        raise ImageProblem("broken", path, _first_line(error)) from error


def decode(path: str | os.PathLike, channels: int, size: Sequence[int], resize: str | None = None) -> np.ndarray:
    """Decode one file to uint8 (channels, H, W), upright.

    `resize` "crop" brings the short side to N and cuts out the centre, "squash" scales both sides to N
    (bilinear with antialiasing, as torchvision's Resize), `size` being (N, N); with None the image must
    have `size` already. Transparency is laid on white; of an animation the first frame counts; 16-bit
    grey keeps its high byte. Raises ImageProblem: 'colour' if one channel is asked of a colour image,
    'size', or 'broken'.
    """
    try:
        with Image.open(path) as image:
            if channels == 1 and image.mode not in GREY:
                raise ImageProblem("colour", path, f"mode {image.mode}")
            image.load()                                         # here a short file shows
            if image.getexif().get(ORIENTATION, 1) != 1:         # the call below copies every image
                image = ImageOps.exif_transpose(image)
            image = _flat(image, "L" if channels == 1 else "RGB")
            image = _resized(image, size[0], resize) if resize else image
    except ImageProblem:
        raise
    except Exception as error:
        raise ImageProblem("broken", path, _first_line(error)) from error
    if image.size != (size[1], size[0]):
        raise ImageProblem("size", path, f"{image.height}x{image.width}")
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decode_all(paths: Sequence[str | os.PathLike], channels: int, size: Sequence[int],
               resize: str | None = None) -> np.ndarray:
    """Decode `paths` to one uint8 array (len(paths), channels, H, W); raises as `decode` does."""
    pixels = np.empty((len(paths), channels, *size), np.uint8)
    for row, path in zip(pixels, paths):
        row[:] = decode(path, channels, size, resize)
    return pixels


def _flat(image, mode):
    """Convert to "L" or "RGB": wide grey narrowed, transparency on white."""
    if image.mode == "F":
        raise ValueError("the range of floating-point pixels is not known")
    if image.mode in WIDE_GREY:
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _resized(image, side, resize):
    if resize == "squash":
        return image.resize((side, side), Image.Resampling.BILINEAR)
    short = min(image.size)
    width, height = (side * length // short for length in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer jobs, one JSON line each, until there are no more."""
    for line in jobs:
        try:
            pixels, problem = decode_all(**json.loads(line)), None
        except ImageProblem as error:
            pixels, problem = None, error.args
        answers.write(json.dumps(problem).encode() + b"\n")
        if pixels is not None:
            answers.write(pixels.data)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)         # Ctrl-C is the parent's business
    warnings.simplefilter("ignore")                      # about metadata; pixels decode or do not
    serve(sys.stdin.buffer, sys.stdout.buffer)
