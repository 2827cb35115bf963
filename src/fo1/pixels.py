"""Pictures of any mode and arrays of any usual type -> upright RGB with 8 bits a channel."""

import math
import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from fo1.errors import ImageError

MAX_PIXELS: Final = 178_956_970
"""Largest picture that is decoded, width x height: half a gigabyte as RGB."""

DECODER_ERRORS: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RuntimeError, AssertionError, struct.error, zlib.error, Warning),
)
"""What Pillow raises on damaged files: OSError comes from the codecs themselves, warnings where a
program turned them into errors."""

_ROUNDING = 1e-3
_BLOCK = 2**22  # values that are converted at a time, so that large pictures need no large copies
_ORIENTATION = 0x0112  # of EXIF
_PHOTOMETRIC = 262  # of TIFF; 0 means that the least value is white
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Image.Image, name: str, *, own: bool) -> Image.Image:
    """Return an upright RGB picture of the current frame.

    Args:
        image: of any mode; its file is still open.
        name: what it is called in errors.
        own: whether nobody else holds the image, so that it may be returned itself.

    Raises:
        ImageError: it has no pixels or too many.
    """
    check_size(image.size, name)
    image.load()
    notes = image.info
    upright = _turn(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        picture = _wide_grey(upright, image).convert("RGB")
    elif upright.has_transparency_data:
        picture = _on_white(upright)
    elif upright.mode != "RGB":
        picture = upright.convert("RGB")
    else:
        picture = upright if own or upright is not image else image.copy()
    # Orientation and transparency are dealt with; a profile for other inks would spoil RGB.
    profile = notes.get("icc_profile") or b""
    picture.info = {"icc_profile": profile} if profile[16:20] == b"RGB " else {}
    return picture


def array_to_rgb(array: npt.NDArray[Any], name: str) -> Image.Image:
    """Return the picture of an array (H, W) or (H, W, 1, 3 or 4); see `imaging.load_image`.

    Raises:
        ImageError: it has no pixels or too many, or its values lie outside the range of their type.
    """
    check_size((array.shape[1], array.shape[0]), name)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8:
        array = _as_bytes(array, name)
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)), name, own=True)


def check_size(size: tuple[int, int], name: str) -> None:
    """Check (width, height) of a picture that is to be decoded.

    Raises:
        ImageError: it has no pixels or too many.
    """
    if min(size) < 1:
        raise ImageError(f"{name} has no pixels (size {size}); give sides of at least 1")
    if math.prod(size) > MAX_PIXELS:
        raise ImageError(
            f"{name} is too large ({size[0]} x {size[1]}); shrink it to at most {MAX_PIXELS} pixels"
        )


def _turn(image: Image.Image) -> Image.Image:
    """Return the picture as the camera was held, or itself if that was upright."""
    try:
        method = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except DECODER_ERRORS:  # damaged notes of a camera are no reason to refuse its picture
        return image
    return image if method is None else image.transpose(method)


def _on_white(image: Image.Image) -> Image.Image:
    """Return a picture with transparency, laid on white."""
    if image.mode == "La":
        image = image.convert("LA")
    seen = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", seen.size, "white")
    white.paste(seen, mask=seen)
    return white


def _wide_grey(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Return 8-bit grey of a picture with wider pixels, whose full scale is guessed from them.

    Args:
        image: upright.
        opened: the picture before it was turned, with what its file says of it.
    """
    values = np.asarray(image)
    highest = float(np.max(values, initial=0, where=np.isfinite(values)))
    if image.mode.startswith("I;16"):
        full = 65535.0
    else:
        steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        full = next((step for step in steps if highest <= step * (1 + _ROUNDING)), highest)
    grey = _scaled(values, full)
    if getattr(opened, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # Pillow heeds it up to 8 bits only
        grey = 255 - grey
    clear = opened.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)


def _as_bytes(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Return uint8 of an array of another type, scaled as that type says."""
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind not in "fiu":
        raise ImageError(f"{name} is {array.dtype}; give uint8 or float in [0, 1]")
    low, high = float(array.min()), float(array.max())
    what = f"{name} is {array.dtype} with values from {low:g} to {high:g}"
    if kind == "f":
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN fails as well
            raise ImageError(f"{what}; give 0 to 1, or uint8")
        return _scaled(array, 1.0)
    if array.dtype == np.uint16:
        if 1 < high <= 255:  # black as 16 bits, and most likely meant as 8
            raise ImageError(f"{what}, a scale to 65535 is expected; if 255 is white, give uint8")
        return _scaled(array, 65535.0)
    if low < 0 or high > 255:
        raise ImageError(f"{what}; give 0 to 255, or uint16 with a scale to 65535")
    return array.astype(np.uint8)


def _scaled(values: npt.NDArray[Any], full: float) -> npt.NDArray[np.uint8]:
    """Return 0 to 255 for values from 0 to `full`; what is not finite becomes 0."""
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float32)
        part = np.nan_to_num(part * np.float32(255 / full), copy=False, posinf=0, neginf=0)
        scaled[start : start + rows] = np.rint(np.clip(part, 0, 255, out=part), out=part)
    return scaled
