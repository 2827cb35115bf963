"""From what a client sent as a picture to its bytes, looked at before anything is decoded. No path is ever opened."""

import asyncio
import hashlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError

from fo1.errors import ImageError
from fo1.imaging import decode_data_url
from fo1.pixels import DECODER_ERRORS
from fo1.serving.limits import Limits
from fo1.serving.remote import Remote

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Kinds of files that are taken; a JPEG may be MPO, as telephones make it, with a second picture behind it."""

_REMOTE = re.compile(r"https?://", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]++=*+\s*")  # in one line or many; never goes back
_NEED = "send a data URL, data:image/jpeg;base64,..., or the base64 alone"


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """The bytes of one picture, not decoded yet.

    Attributes:
        data: a picture file.
        digest: its SHA-256 in hex.
        pixels: width x height.
    """

    data: bytes
    digest: str
    pixels: int


def examine(data: bytes, limits: Limits) -> Upload:
    """Return a picture file whose head is good.

    Raises:
        ImageError: it is no picture of a kind that is taken, too large, or has several frames.
    """
    if len(data) > limits.bytes:
        raise ImageError(f"the picture has {len(data)} bytes; send at most {limits.bytes}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            small = width * height <= limits.pixels  # else a look for a second frame may take long
            several = small and image.format != "MPO" and _has_second_frame(image)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"the data ({len(data)} bytes) is not a picture that is taken; "
            "send a JPEG, PNG, WebP, GIF, BMP or TIFF"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the picture is far too large; shrink it to at most {limits.pixels} pixels"
        ) from error
    except DECODER_ERRORS as error:
        raise ImageError("the picture's head is damaged; save it again") from error
    if not small:
        raise ImageError(
            f"the picture is too large ({width} x {height}); shrink it to at most {limits.pixels} pixels"
        )
    if several:
        raise ImageError("the picture has several frames or pages; send one of them")
    return Upload(data, hashlib.sha256(data).hexdigest(), width * height)


def _has_second_frame(image: Image.Image) -> bool:
    """Return whether there is one; counting them all may take long."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


class PictureReader:
    """Reads what clients send as pictures, beside the event loop.

    Args:
        limits: of the server.
        remote: what fetches URLs; None refuses them.
    """

    def __init__(self, limits: Limits, remote: Remote | None = None) -> None:
        self.limits = limits
        self.remote = remote
        self._readers = ThreadPoolExecutor(2, "fo1-read")
        self._fetchers = ThreadPoolExecutor(8, "fo1-fetch")

    async def read(self, text: str) -> Upload:
        """Return the picture of a data URL, of base64 or, if they are fetched, of an http(s) URL.

        Raises:
            ImageError: there is none, or none that is taken.
        """
        loop = asyncio.get_running_loop()
        if _REMOTE.match(text):
            if self.remote is None:
                raise ImageError(f"pictures are not fetched by this server; {_NEED}")
            data = await loop.run_in_executor(self._fetchers, self.remote.fetch, text)
            return await loop.run_in_executor(self._readers, examine, data, self.limits)
        return await loop.run_in_executor(self._readers, self._decoded, text)

    def close(self) -> None:
        """Let no more be read."""
        for pool in (self._readers, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _decoded(self, text: str) -> Upload:
        if text[:5].lower() == "data:":
            return examine(decode_data_url(text), self.limits)
        if not _BASE64.fullmatch(text):
            raise ImageError(f"image is neither a data URL nor base64; {_NEED}")
        try:
            data = decode_data_url(f"data:;base64,{text}")
        except ImageError as error:
            raise ImageError(f"image is no valid base64; {_NEED}") from error
        return examine(data, self.limits)
