import base64
import contextlib
import io
import random
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fo1 import imaging
from fo1.errors import ImageError
from fo1.imaging import load_image

COLORS = np.array([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[9, 9, 9], [90, 90, 90], [255] * 3]])
RGB = COLORS.astype(np.uint8)  # (2, 3, 3): an upright picture has 2 rows of 3


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(source: imaging.ImageSource) -> np.ndarray:
    image = load_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_one_picture_from_every_kind_of_source(tmp_path: Path) -> None:
    picture = Image.fromarray(RGB)
    data = encoded(picture)
    path = tmp_path / "a b.png"
    path.write_bytes(data)
    text = base64.b64encode(data).decode()
    sources: list[imaging.ImageSource] = [
        *(path, str(path), data, picture, RGB, RGB / 255, RGB.astype(np.float16) / 255),
        f"data:image/png;base64,{text}",
        f"DATA:image/x-anything;charset=utf-8;BASE64,{text}",
        f"data:;base64,{text}",
        f"data:image/png;base64,{urllib.parse.quote(text)}",
        "data:image/png;base64," + base64.urlsafe_b64encode(data).decode().rstrip("="),
        f"data:image/png;base64,{text[:10]}\n {text[10:]}",
        "data:image/png," + urllib.parse.quote_from_bytes(data),
        np.dstack([RGB, np.full((2, 3), 255, np.uint8)]),
        RGB[::-1][::-1],
    ]
    for source in sources:
        np.testing.assert_array_equal(pixels(source), RGB)


def test_the_source_is_never_shared() -> None:
    picture = Image.fromarray(RGB)
    loaded = load_image(picture)
    loaded.putpixel((0, 0), (1, 2, 3))
    assert picture.getpixel((0, 0)) == (250, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.kron(RGB, np.ones((16, 16, 1), np.uint8))
    undo = {  # how a camera with this orientation stored the upright picture
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(undo[orientation])), exif=exif.tobytes())
    np.testing.assert_array_equal(pixels(data), upright)
    again = load_image(load_image(data))
    np.testing.assert_array_equal(np.asarray(again), upright)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    assert pixels(rgba)[0, :, 0].tolist() == [255, 127, 0]
    grey = Image.fromarray(rgba).convert("LA")
    assert pixels(encoded(grey))[0, :, 0].tolist() == [255, 127, 0]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert pixels(encoded(palette, transparency=0)).ravel().tolist() == [255] * 3
    assert pixels(encoded(palette)).ravel().tolist() == [0] * 3


def test_16_bit_grey_keeps_its_range() -> None:
    grey = np.array([[0, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert pixels(encoded(Image.fromarray(grey), kind))[0, :, 0].tolist() == [0, 128, 255]
    dark = np.array([[0, 257]], np.uint16)
    assert pixels(encoded(Image.fromarray(dark)))[0, :, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 100, 255], np.int32, [0, 100, 255]),
        ([-5, 32768, 65535], np.int32, [0, 128, 255]),
        ([0, 0.5, 1], np.float32, [0, 128, 255]),
        ([0, 100, 255], np.float32, [0, 100, 255]),
        ([np.nan, 0, np.inf], np.float32, [0, 0, 0]),
    ],
)
def test_wide_grey_of_pil(values: list[float], kind: type, expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], kind))
    assert pixels(image)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBa", "RGBX", "PA"]
)
def test_every_pil_mode_becomes_rgb(mode: str) -> None:
    assert pixels(Image.new(mode, (3, 2))).shape == (2, 3, 3)


def test_cmyk_jpeg_and_first_frame_of_an_animation() -> None:
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert pixels(encoded(white, "JPEG")).min() > 250
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = pixels(data)[0, 0]
        assert red > 200
        assert blue < 60


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 40, 50), np.uint8), "transpose(1, 2, 0)"),
        (np.zeros((5, 5, 2), np.uint8), "(5, 5, 2)"),
        (np.zeros(5, np.uint8), "(5,)"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.full((2, 2), 200.0), "0 to 1"),
        (np.full((2, 2), np.nan), "nan"),
        (np.full((2, 2), -1.0), "-1"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.zeros((2, 2), object), "object"),
    ],
)
def test_unusable_arrays(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(array)
    assert words in str(caught.value)


def test_other_arrays_that_are_fine() -> None:
    assert pixels(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]
    assert pixels(np.full((2, 2, 1), 7, np.uint8)).tolist() == [[[7] * 3] * 2] * 2
    assert pixels(np.array([[1.0004, -0.0004]]))[0, :, 0].tolist() == [255, 0]


def test_unusable_sources(tmp_path: Path) -> None:
    whole = encoded(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")
    files = {
        "empty.png": (b"", "empty (0 bytes)"),
        "text.jpg": (b"hello", "not a picture"),
        "cut.jpg": (whole[: len(whole) // 2], "damaged"),
        "head.jpg": (whole[:30], "jpg"),
    }
    for name, (data, words) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=name) as caught:
            load_image(tmp_path / name)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no/such/file.jpg", "does not exist"),
        ("a\nb.jpg", r"a\nb.jpg"),
        ("nul\0.jpg", "check the path"),
        ("https://example.org/cat.jpg", "download it first"),
        ("HTTP://example.org/cat.jpg", "download it first"),
        ("data:text/plain;base64,aGk=", "not a picture's data URL"),
        ("data:image/png;base64", "not a picture's data URL"),
        ("data:image/png;base64,%%%", "base64"),
        ("data:image/png;base64,aGk=", "not a picture that can be read"),
        ("data:image/png;base64,", "empty"),
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "8 bytes"),
        ("x" * 5000, "..."),
        ("", "folder"),
        (None, "NoneType"),
        (["a.jpg"], "list"),
    ],
)
def test_bad_sources_give_one_line_with_the_cure(source: object, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(source)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


def test_pil_images_without_pixels_or_with_a_closed_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no pixels"):
        load_image(Image.new("RGB", (0, 5)))
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(ImageError, match="PIL image"):
        load_image(image)


def test_pictures_over_the_limit_are_refused_before_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 200_000
    for source in (bomb, Image.new("1", (20_000, 20_000))):
        with pytest.raises(ImageError, match=str(imaging.MAX_PIXELS)):
            load_image(source)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # callers switch Pillow's own limit off
    with pytest.raises(ImageError, match="20000 x 20000"):
        load_image(bomb)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_raise_nothing_but_image_error(kind: str) -> None:
    dice = random.Random(7)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif.tobytes()} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    whole = encoded(Image.effect_noise((24, 20), 60).convert("RGB"), kind, **options)
    for _ in range(120):
        data = bytearray(whole[: dice.randrange(1, len(whole) + 1)])
        for _ in range(dice.randrange(6)):
            data[dice.randrange(min(len(data), 80))] = dice.randrange(256)
        with contextlib.suppress(ImageError):
            load_image(bytes(data))
