"""Pictures of stored records: where they are, what they hold, and how they open."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from fo1.data.schema import PictureRef, Record
from fo1.errors import ImageError, InputError, short_name
from fo1.imaging import PICTURE_SUFFIXES, load_image
from fo1.pixels import DECODER_ERRORS


def open_picture(record: Record, index: int = 0, root: Path | None = None) -> Image.Image:
    """Return a picture of a record, RGB.

    Args:
        record: what holds or names the picture.
        index: of the picture.
        root: folder that relative paths start from; None for the current one.

    Raises:
        InputError: the record has no such picture.
        ImageError: it cannot be read, or it has another size than its boxes are for.
    """
    if not 0 <= index < len(record.pictures):
        raise InputError(
            f"record {short_name(record.key)} has no picture {index}; it has {len(record.pictures)}"
        )
    picture = record.pictures[index]
    if picture.data is None:
        image = load_image(full_path(picture.file, root))
    else:
        try:
            image = load_image(picture.data)
        except ImageError as error:
            raise ImageError(
                f"picture {index} of record {short_name(record.key)}: {error}"
            ) from error
    height, width = picture.size or (image.height, image.width)
    if image.size != (width, height):
        raise ImageError(
            f"{short_name(picture.file)} is {image.width} x {image.height}, but the boxes of record "
            f"{short_name(record.key)} are for {width} x {height}; take the picture that belongs to it"
        )
    return image


def full_path(file: str, root: Path | None) -> str:
    """Return the absolute path of a file; a web address as it is, for `load_image` to tell."""
    if "://" in file or file[:5].lower() == "data:":
        return file
    return os.path.abspath(os.path.join(root or "", file))


def located(record: Record, folder: Path) -> Record:
    """Return a record of a file in a folder whose pictures have their full path, unless they are inside."""
    return _changed(
        record,
        lambda one: one if one.data is not None else replace(one, file=full_path(one.file, folder)),
    )


def referring(
    record: Record, root: Path | None, folder: Path, *, keep_inside: bool = False
) -> Record:
    """Return a record, for a file in a folder, that names its pictures and holds none, or those that it held before.

    Raises:
        InputError: a picture is inside the record alone.
    """

    def refer(one: PictureRef) -> PictureRef:
        if keep_inside and one.data is not None:
            return one
        path = full_path(one.file, root)
        if one.data is not None and not os.path.isfile(path):
            raise InputError(
                f"a picture of record {short_name(record.key)} is inside it and "
                f'{short_name(one.file)} is no file; write it with pictures="embed"'
            )
        inside = os.path.join(os.path.abspath(folder), "")
        if path.startswith(inside):
            path = path[len(inside) :].replace(os.sep, "/")
        return replace(one, file=path, data=None)

    return _changed(record, refer)


def embedding(record: Record, root: Path | None) -> Record:
    """Return a record that holds its pictures, each under the name of its file without the folder.

    Raises:
        ImageError: a picture cannot be read.
    """

    def embed(one: PictureRef) -> PictureRef:
        data = one.data
        if data is None:
            try:
                data = Path(full_path(one.file, root)).read_bytes()
            except (OSError, ValueError) as error:  # ValueError: a null character in the path
                reason = getattr(error, "strerror", None) or error
                raise ImageError(
                    f"cannot read {short_name(one.file)} of record {short_name(record.key)}: "
                    f"{reason}; check the path"
                ) from error
        name = one.file.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return replace(one, file=name or one.file, data=data)

    return _changed(record, embed)


def picture_suffix(picture: PictureRef) -> str:
    """Return the ending, without a dot, that a picture inside a record has as a file.

    Raises:
        ImageError: its name has no ending of pictures and its bytes are none that Pillow knows.
    """
    suffix = os.path.splitext(picture.file)[1].lower()
    if suffix in PICTURE_SUFFIXES:
        return suffix[1:]
    try:
        with Image.open(io.BytesIO(picture.data or b"")) as image:
            return (image.format or "").lower().replace("jpeg", "jpg")
    except DECODER_ERRORS as error:
        raise ImageError(
            f"{short_name(picture.file)} is not a picture that can be read; give a JPEG or PNG"
        ) from error


def _changed(record: Record, change: Callable[[PictureRef], PictureRef]) -> Record:
    if not record.pictures:
        return record
    return replace(record, pictures=tuple(map(change, record.pictures)))
