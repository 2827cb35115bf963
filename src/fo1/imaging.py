"""Any picture a caller may hold -> one upright RGB `PIL.Image`, or one clear line why not."""

import base64
import binascii
import io
import os
import re
import stat
import urllib.parse
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fo1.errors import ImageError, short_name
from fo1.pixels import DECODER_ERRORS, MAX_PIXELS, array_to_rgb, check_size, to_rgb


@runtime_checkable
class TensorLike(Protocol):
    """What a `torch.Tensor` is to this module, which does without torch."""

    def detach(self) -> Any:
        """Return the tensor without its history."""

    def cpu(self) -> Any:
        """Return the tensor in main memory."""


ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any] | TensorLike"
)

PICTURE_SUFFIXES: Final = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe"),
    *(".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""Endings, in small letters, of the files in a folder that are taken for pictures."""

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|ftp|s3|gs)://", re.IGNORECASE)
_CHANNELS = (1, 3, 4)
_NEED = "give a JPEG, PNG, WebP, GIF, BMP or TIFF picture"
_STRANGERS = (
    (rb"%PDF", "is a PDF; export its page as PNG"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "is PostScript; export it as PNG"),
    (rb"(?is)\s*<(?:!doctype html|html)", "is a web page; download the picture itself"),
    (rb"(?is)[\xef\xbb\xbf\s]*<.*?\bsvg\b", "is an SVG drawing; export it as PNG"),
    (rb"(?s)....ftyp(?:hei|hev|mif1|msf1)", "is a HEIC picture; save it as JPEG or PNG"),
    (
        rb"(?s)....ftyp|\x1aE\xdf\xa3|RIFF....AVI |\x00\x00\x01[\xb3\xba]",
        "is a video; save a frame of it",
    ),
    (rb"version https://git-lfs", "is a Git LFS pointer; run: git lfs pull"),
    (
        rb"II[*+]\x00|MM\x00[*+]",
        "is a TIFF of an unknown kind; save it as RGB with 8 bits a channel",
    ),
)
"""How files begin that are no pictures or none that can be read, with what to do about them."""


def load_image(source: ImageSource) -> Image.Image:
    """Return an upright RGB picture; the source is not changed, its file's name is `info["filename"]`.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, of
    an animated file the first frame is taken, of a PIL image the current one. Pillow warns from 90
    megapixels on, which harms nothing.

    Args:
        source: a path, a data URL, the bytes of a picture file, a PIL image, an array (H, W) or
            (H, W, 1, 3 or 4), or a torch tensor (H, W), (1, 3 or 4, H, W) or (H, W, 3 or 4) on any
            device. Values are float or bool in [0, 1], integers in [0, 255], or uint16 in
            [0, 65535].

    Raises:
        ImageError: missing, damaged, empty, larger than `MAX_PIXELS`, or not a picture.
    """
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or source.info.get("filename", "")
        return _named(_from_pil(source), name)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), f"the data ({len(source)} bytes)")
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _from_stream(io.BytesIO(decode_data_url(source)), "the data URL")
    if isinstance(source, str | os.PathLike):
        return _named(_from_path(source), os.fsdecode(source))
    if isinstance(source, TensorLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        return _from_tensor(source)
    raise ImageError(
        f"cannot read a picture from {type(source).__name__}; "
        "give a path, bytes, data URL, PIL image, numpy array or torch tensor"
    )


def _named(picture: Image.Image, name: str | bytes) -> Image.Image:
    """Return the picture with the name of its file in its notes, where those look that know pictures by name."""
    if name:
        picture.info["filename"] = os.fsdecode(name)
    return picture


def _from_path(source: str | os.PathLike[str]) -> Image.Image:
    text = os.fsdecode(source)
    name = short_name(text)
    if not text:
        raise ImageError("the path of the picture is empty; give a picture file")
    if _REMOTE.match(text):
        raise ImageError(f"{name} is remote; download it first and give the file's path")
    try:
        # Windows reports a folder as a permission problem.
        if Path(text).is_dir():
            raise ImageError(f"{name} is a folder; give a picture file in it")
        with Path(text).open("rb") as stream:
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):  # may never end; NUL on Windows
                raise ImageError(f"{name} is a device; give a picture file")
            return _from_stream(stream if stream.seekable() else io.BytesIO(stream.read()), name)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read by this user; change its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(f"cannot open {name}: {_reason(error)}; check the path") from error


def _from_stream(stream: BinaryIO, name: str) -> Image.Image:
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes); {_NEED}")
    try:
        with Image.open(stream) as image:
            if image.format == "EPS":  # Pillow would run another program on it
                raise UnidentifiedImageError
            return to_rgb(image, name, own=True)
    except UnidentifiedImageError as error:
        known = (told for pattern, told in _STRANGERS if re.match(pattern, head))
        told = next(known, f"is not a picture that can be read; {_NEED}")
        raise ImageError(f"{name} {told}") from error
    except Image.DecompressionBombError as error:
        most = min(MAX_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS))  # programs may set it
        raise ImageError(f"{name} is too large; shrink it to at most {most} pixels") from error
    except Image.DecompressionBombWarning as error:
        raise ImageError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels, and this program turns Pillow's "
            "warning of that into an error; shrink it, or let the warning pass"
        ) from error
    except DECODER_ERRORS as error:
        raise _damaged(name, error) from error


def decode_data_url(url: str) -> bytes:
    """Return the bytes that a picture's data URL holds.

    Raises:
        ImageError: it is none, or its base64 is damaged.
    """
    head = _DATA_URL.match(url)
    if head is None or (head[1] and not head[1].lower().startswith("image/")):
        raise ImageError(
            f"{short_name(url)} is not a picture's data URL; give data:image/png;base64,..."
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
            f"{short_name(url)} holds no valid base64 ({_reason(error)}); encode the file again"
        ) from error


def _from_tensor(source: TensorLike) -> Image.Image:
    try:
        tensor = source.detach()
        shape = tuple(tensor.shape)
        _check_shape(shape, "the tensor", first=True)
        if len(shape) == 3 and shape[0] in _CHANNELS:  # torch's own order, so it wins in doubt
            tensor = tensor.permute(1, 2, 0)
        check_size((tensor.shape[1], tensor.shape[0]), "the tensor")
        tensor = tensor.cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()  # numpy has no bfloat16
        array = np.asarray(tensor)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantised, ...
        raise ImageError(
            f"cannot read the tensor: {_reason(error)}; give a dense one, float or uint8"
        ) from error
    return array_to_rgb(array, "the tensor")


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    _check_shape(array.shape, "the array", first=False)
    return array_to_rgb(array, "the array")


def _check_shape(shape: tuple[int, ...], name: str, *, first: bool) -> None:
    """Check the shape of an array, whose channels may also stand first if `first`.

    Raises:
        ImageError: it is not that of one picture.
    """
    early = len(shape) == 3 and shape[0] in _CHANNELS
    late = len(shape) == 3 and shape[2] in _CHANNELS
    if len(shape) == 2 or late or (early and first):
        return
    cure = "give (3, H, W) or (H, W)" if first else "give (H, W, 3) or (H, W)"
    if early:
        cure = "move channels last with .transpose(1, 2, 0)"
    if len(shape) == 4:
        cure = "give the pictures of a batch one by one, for example list(batch)"
    raise ImageError(f"{name} has shape {shape}; {cure}")


def _from_pil(image: Image.Image) -> Image.Image:
    try:
        return to_rgb(image, "the PIL image", own=False)
    except DECODER_ERRORS as error:  # a file opened by the caller is decoded here, or is closed
        raise _damaged("the PIL image", error) from error


def _damaged(name: str, error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    return ImageError(f"{name} is damaged: {_reason(error)}; save or download it again")


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return short_name(" ".join(said.split())) or type(error).__name__
