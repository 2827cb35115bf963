"""Any picture a caller may hold -> one upright RGB `PIL.Image`, or one clear line why not."""

import base64
import binascii
import io
import math
import os
import re
import struct
import urllib.parse
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from fo1.errors import ImageError

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]"

MAX_PIXELS: Final = 178_956_970
"""Largest picture that is decoded, width x height: half a gigabyte as RGB."""

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|ftp|s3|gs)://", re.IGNORECASE)
_ROUNDING = 1e-3
# What Pillow's decoders raise on damaged files; OSError comes from the codecs themselves.
_DECODER_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RuntimeError, AssertionError, struct.error, zlib.error),
)
_NEED = "give a JPEG, PNG, WebP, GIF, BMP or TIFF picture"


def load_image(source: ImageSource) -> Image.Image:
    """Return an upright RGB picture; the source is not changed.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, of
    an animated file the first frame is taken, of a PIL image the current one.

    Args:
        source: a path, a data URL, the bytes of a picture file, a PIL image, or an array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or float in [0, 1].

    Raises:
        ImageError: missing, damaged, empty, larger than `MAX_PIXELS`, or not a picture.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), f"the {len(source)} bytes")
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _from_stream(io.BytesIO(_decode_data_url(source)), "the data URL")
    if isinstance(source, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        return _from_path(source)
    raise ImageError(
        f"cannot read a picture from {type(source).__name__}; "
        "give a path, bytes, data URL, PIL image or numpy array"
    )


def _from_path(source: str | os.PathLike[str]) -> Image.Image:
    text = os.fspath(source)
    name = _short(text)
    if _REMOTE.match(text):
        raise ImageError(f"{name} is remote; download it first and give the file's path")
    try:
        # Windows reports a folder as a permission problem.
        if Path(text).is_dir():
            raise ImageError(f"{name} is a folder; give a picture file in it")
        with Path(text).open("rb") as stream:
            return _from_stream(stream, name)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read by this user; change its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(f"cannot open {name}: {_reason(error)}; check the path") from error


def _from_stream(stream: BinaryIO, name: str) -> Image.Image:
    if not stream.read(1):
        raise ImageError(f"{name} is empty (0 bytes); {_NEED}")
    stream.seek(0)
    try:
        with Image.open(stream) as image:
            return _to_rgb(image, name)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture that can be read; {_NEED}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name)) from error
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error


def _decode_data_url(url: str) -> bytes:
    head = _DATA_URL.match(url)
    if head is None or (head[1] and not head[1].lower().startswith("image/")):
        raise ImageError(
            f"{_short(url)} is not a picture's data URL; give data:image/png;base64,..."
        )
    body = urllib.parse.unquote_to_bytes(url[head.end() :])
    if ";base64" not in head[2].lower():
        return body
    try:
        compact = b"".join(body.split())
        # Encoders for URLs leave the padding out and use - and _.
        compact = compact.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"{_short(url)} holds no valid base64 ({_reason(error)}); encode the file again"
        ) from error


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        first = array.ndim == 3 and shape[0] in (1, 3, 4)
        cure = "move channels last with .transpose(1, 2, 0)" if first else "give (H, W, 3)"
        raise ImageError(f"the array has shape {shape}, need (H, W), (H, W, 3 or 4); {cure}")
    if 0 in shape:
        raise ImageError(f"the array has shape {shape} and no pixels; give sides of at least 1")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise ImageError(_too_large("the array", (shape[1], shape[0])))
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ImageError(
                f"the float array holds values from {low:g} to {high:g}; give 0 to 1, or uint8"
            )
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"the array is {array.dtype}; give uint8 or float in [0, 1]")
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)), "the array")


def _from_pil(image: Image.Image) -> Image.Image:
    try:
        return _to_rgb(image, "the PIL image")
    except _DECODER_ERRORS as error:  # a file opened by the caller is decoded here, or is closed
        raise _damaged("the PIL image", error) from error


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Return a new upright RGB picture of the current frame."""
    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels (size {image.size}); give sides of at least 1")
    if math.prod(image.size) > MAX_PIXELS:
        raise ImageError(_too_large(name, image.size))
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "RGB" and not upright.has_transparency_data:
        return upright
    if upright.mode.startswith("I") or upright.mode == "F":
        return _wide_grey(upright).convert("RGB")
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return upright.convert("RGB")


def _wide_grey(image: Image.Image) -> Image.Image:
    """Return 8-bit grey of a picture with wider pixels, whose full scale is guessed from them."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    highest = float(values.max())
    if image.mode.startswith("I;16"):
        scale = 65535.0
    else:
        steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        scale = next((step for step in steps if highest <= step), highest)
    return Image.fromarray(np.rint(np.clip(values / scale, 0, 1) * 255).astype(np.uint8))


def _damaged(name: str, error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    return ImageError(f"{name} is damaged: {_reason(error)}; save or download it again")


def _too_large(name: str, size: tuple[int, int] | None = None) -> str:
    width_height = f" ({size[0]} x {size[1]})" if size else ""
    return f"{name} is too large{width_height}; shrink it to at most {MAX_PIXELS} pixels"


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def _short(text: str, limit: int = 200) -> str:
    """Return a name that keeps an error on one line of readable length."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= limit else f"{shown[:limit]}..."
