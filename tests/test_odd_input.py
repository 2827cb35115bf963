"""Pictures of every odd kind give the box that the plain picture gives, with the packaged model."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fo1 import FO1
from fo1.errors import ImageError
from fo1.geometry import box_iou
from fo1.results import Detections

ROOT = Path(__file__).parents[1]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def nano() -> FO1:
    return FO1.from_pretrained()


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    """A photograph with one cup, off its middle, so that no turn or flip goes unseen."""
    with Image.open(ROOT / "examples/photos/coffee.jpg") as image:
        return image.convert("RGB").resize((320, 213), Image.Resampling.LANCZOS)


Best = tuple[np.ndarray, float]


def best(model: FO1, source: Any, name: str) -> Best:
    found = model.encode(source).detect([name])
    assert len(found) == 1
    return found.boxes[0], float(found.scores[0])


@pytest.fixture(scope="module")
def cup(nano: FO1, coffee: Image.Image) -> Best:
    return best(nano, coffee, "cup")


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    return float(box_iou(box[None], other[None])[0, 0])


def grey16(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")).astype(np.uint16) * 257


def with_hole(image: Image.Image) -> Image.Image:
    """Return the picture with a transparent corner far from the cup."""
    mask = Image.new("L", image.size, 255)
    mask.paste(0, (300, 0, 320, 20))
    seen = image.convert("RGBA")
    seen.putalpha(mask)
    return seen


def turned(image: Image.Image, orientation: int) -> bytes:
    """Return the picture as a camera stores it that was held in another way."""
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        8: [Image.Transpose.ROTATE_270],
    }
    for step in undo[orientation]:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", quality=92, exif=exif)


def animated(image: Image.Image, kind: str) -> bytes:
    more = [Image.new("RGB", image.size, color) for color in ("black", "white")]
    return encoded(image, kind, save_all=True, append_images=more, duration=100)


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


COLOURED: dict[str, Callable[[Image.Image], Any]] = {
    "jpeg": lambda image: encoded(image, "JPEG", quality=92),
    "progressive jpeg": lambda image: encoded(image, "JPEG", quality=92, progressive=True),
    "rough jpeg": lambda image: encoded(image, "JPEG", quality=40),
    "cmyk jpeg": lambda image: encoded(image.convert("CMYK"), "JPEG", quality=92),
    "cmyk tiff": lambda image: encoded(image.convert("CMYK"), "TIFF"),
    "webp": lambda image: encoded(image, "WEBP", quality=90),
    "palette png": lambda image: encoded(image.quantize(256)),
    "palette with a hole": lambda image: encoded(image.quantize(255), transparency=254),
    "rgba png": lambda image: encoded(with_hole(image)),
    "premultiplied": lambda image: with_hole(image).convert("RGBa"),
    "ycbcr": lambda image: image.convert("YCbCr"),
    "hsv": lambda image: image.convert("HSV"),
    "animated gif": lambda image: animated(image, "GIF"),
    "animated webp": lambda image: animated(image, "WEBP"),
    "animated png": lambda image: animated(image, "PNG"),
    "data url": lambda image: "data:image/png;base64," + base64.b64encode(encoded(image)).decode(),
    "array": np.asarray,
    "float array": lambda image: np.asarray(image) / 255,
    "integer array": lambda image: np.asarray(image).astype(np.int64),
    "tensor": tensor,
    "bfloat16 tensor": lambda image: (tensor(image) / 255).bfloat16(),
    "mirrored by exif": lambda image: turned(image, 2),
    "upside down by exif": lambda image: turned(image, 3),
    "transposed by exif": lambda image: turned(image, 5),
    "right by exif": lambda image: turned(image, 6),
    "left by exif": lambda image: turned(image, 8),
}
GREY: dict[str, Callable[[Image.Image], Any]] = {
    "grey png": lambda image: encoded(image.convert("L")),
    "grey with a hole": lambda image: encoded(with_hole(image).convert("LA")),
    "16-bit png": lambda image: encoded(Image.fromarray(grey16(image))),
    "16-bit tiff": lambda image: encoded(Image.fromarray(grey16(image)), "TIFF"),
    "16-bit array": grey16,
    "float tiff": lambda image: encoded(
        Image.fromarray(grey16(image).astype(np.float32) / 65535), "TIFF"
    ),
}


@pytest.mark.parametrize("kind", COLOURED)
def test_every_kind_of_picture_gives_the_box_of_the_plain_one(
    nano: FO1, coffee: Image.Image, cup: Best, kind: str
) -> None:
    box, score = best(nano, COLOURED[kind](coffee), "cup")
    assert overlap(box, cup[0]) > 0.85
    assert score == pytest.approx(cup[1], abs=0.05)


@pytest.mark.parametrize("kind", GREY)
def test_grey_pictures_give_it_as_well(
    nano: FO1, coffee: Image.Image, cup: Best, kind: str
) -> None:
    """Without colours the score differs a little more; all kinds of grey are one to the model."""
    box, score = best(nano, GREY[kind](coffee), "cup")
    assert overlap(box, cup[0]) > 0.8
    assert score == pytest.approx(cup[1], abs=0.1)


def test_black_and_white_gives_the_box_with_another_score(nano: FO1) -> None:
    """Dots instead of shades: the cat is found where it is, but how sure the model is differs."""
    with Image.open(ROOT / "tests/fixtures/photos/chelsea.jpg") as image:
        plain = best(nano, image, "cat")
        dots = best(nano, encoded(image.convert("1")), "cat")
    assert overlap(dots[0], plain[0]) > 0.8
    assert dots[1] == pytest.approx(plain[1], abs=0.25)


def test_neighbours_of_extreme_sizes_change_nothing(
    nano: FO1, coffee: Image.Image, cup: Best
) -> None:
    sizes = [(1, 1), (3000, 1), (1, 3000), (10, 10)]
    odd = [Image.new("RGB", size, "olive") for size in sizes]
    found = nano.detect([*odd[:2], coffee, *odd[2:]], ["cup"], batch_size=5)
    assert [each.image_size[::-1] for each in found] == [*sizes[:2], coffee.size, *sizes[2:]]
    assert overlap(found[2].boxes[0], cup[0]) > 0.99
    assert found[2].scores[0] == pytest.approx(cup[1], abs=1e-3)


def test_a_tensor_is_one_picture_and_a_batch_is_a_list(nano: FO1, coffee: Image.Image) -> None:
    one = tensor(coffee)
    assert isinstance(nano.detect(one, "cup"), Detections)
    assert len(nano.detect(list(torch.stack([one, one])), "cup")) == 2
    with pytest.raises(ImageError, match=r"for example list\(batch\)"):
        nano.detect(torch.stack([one, one]), "cup")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_100_megapixels(nano: FO1, coffee: Image.Image) -> None:
    """Ten thousand pixels a side; boxes are in its own pixels."""
    square = coffee.crop((20, 0, 233, 213))
    huge = square.resize((10_000, 10_000), Image.Resampling.BILINEAR)
    expected = nano.refer(square, "cup").boxes[0] * np.float32(10_000 / 213)
    found = nano.refer(encoded(huge, "JPEG", quality=85), "cup")
    assert overlap(found.boxes[0], expected) > 0.8
