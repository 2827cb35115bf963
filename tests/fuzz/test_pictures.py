"""Pictures come through exactly, and damaged ones give one line, in little time and memory."""

import io
import random
import time
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fo1 import pixels
from fo1.errors import ImageError
from fo1.imaging import load_image
from tests.fuzz.budget import assert_one_line, fuzz

resource = pytest.importorskip("resource")  # not on Windows
SIDES = st.integers(1, 24)
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True, "exact": True},
    "BMP": {},
    "TGA": {},
    "PPM": {},
}
HAS_EXIF = ("PNG", "TIFF", "WEBP")
HAS_ALPHA = ("PNG", "TIFF", "WEBP")
ORIENTATION = 0x0112
MOST_SECONDS = 20.0
MOST_BYTES = 1 << 30
# One of each is drawn upright by undoing what the orientation says.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Pillow warns about damage, and warnings are errors in the suite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def flat(rgba: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) float64: the picture on white."""
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@st.composite
def arrays(draw: st.DrawFn, channels: int) -> np.ndarray:
    shape = (draw(SIDES), draw(SIDES), channels)
    return draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 90, 128, 254, 255])))


@fuzz(
    st.booleans().flatmap(lambda alpha: arrays(4 if alpha else 3)),
    st.sampled_from(sorted(LOSSLESS)),
    st.sampled_from(sorted(STORED)),
)
def test_pixels_come_through_upright(rgba: np.ndarray, kind: str, orientation: int) -> None:
    upright = rgba if kind in HAS_ALPHA else rgba[..., :3]
    if kind not in HAS_EXIF:
        orientation = 1
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"exif": exif.tobytes()} if orientation > 1 else {}
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    loaded = load_image(encode(image, kind, **LOSSLESS[kind], **options))
    assert loaded.mode == "RGB"
    if upright.shape[2] == 3:
        np.testing.assert_array_equal(np.asarray(loaded), upright)
    else:
        np.testing.assert_allclose(np.asarray(loaded), flat(upright), atol=1.01)
        solid = upright[..., 3] == 255
        np.testing.assert_array_equal(np.asarray(loaded)[solid], upright[solid][:, :3])
        assert (np.asarray(loaded)[upright[..., 3] == 0] == 255).all()
    np.testing.assert_array_equal(np.asarray(load_image(loaded)), np.asarray(loaded))


@fuzz(arrays(3), st.sampled_from(["RGB", "L", "1", "P", "CMYK", "YCbCr", "LA", "PA", "RGBX"]))
def test_every_mode_gives_the_colours_pillow_gives(array: np.ndarray, mode: str) -> None:
    image = Image.fromarray(array).convert("L" if mode == "PA" else mode)
    image = image.convert(mode) if mode == "PA" else image
    before = image.tobytes()
    loaded = load_image(image)
    assert loaded is not image
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(image.convert("RGB")))
    assert image.tobytes() == before


@fuzz(arrays(1), st.sampled_from([np.uint8, np.float16, np.float32, np.float64]), st.booleans())
def test_arrays_mean_the_same_in_every_type(grey: np.ndarray, kind: type, flip: bool) -> None:
    array = grey if kind is np.uint8 else (grey.astype(np.float64) / 255).astype(kind)
    expected = np.repeat(grey, 3, axis=2)
    if flip:
        array, expected = array[::-1, ::-1], expected[::-1, ::-1]
    for given in (array, array[:, :, 0], np.repeat(array, 3, axis=2), np.asfortranarray(array)):
        np.testing.assert_array_equal(np.asarray(load_image(given)), expected)


@fuzz(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    examples=80,
)
def test_any_array_is_a_picture_or_one_line(array: np.ndarray) -> None:
    try:
        loaded = load_image(array)
    except ImageError as error:
        assert_one_line(error)
        return
    assert loaded.mode == "RGB"
    assert loaded.size == (array.shape[1], array.shape[0])


@cache
def corpus() -> dict[str, bytes]:
    """Return a small file of every format that Pillow writes, in several modes."""
    dice = np.random.default_rng(3)
    noise = dice.integers(0, 256, (20, 24, 4), dtype=np.uint8)
    noise[:10] //= 64  # some of it compresses
    whole = Image.fromarray(noise)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010E] = "a picture"
    Image.init()
    files: dict[str, bytes] = {}
    for kind in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F"):
            options = {"exif": exif.tobytes()} if mode in ("RGB", "RGBA") else {}
            image = whole.convert("L").convert(mode) if mode == "I;16" else whole.convert(mode)
            try:
                files[f"{kind} {mode}"] = encode(image, kind, **options)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
                continue
    frames = [whole.convert("RGB"), whole.convert("RGB").rotate(180)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        files[f"{kind} frames"] = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4", "zstd"):
        image = whole.convert("1" if packing == "group4" else "RGB")
        files[f"TIFF {packing}"] = encode(image, "TIFF", compression=packing)
    files["JPEG progressive"] = encode(frames[0], "JPEG", progressive=True, exif=exif.tobytes())
    return files


def test_the_corpus_holds_every_usual_format_and_all_of_it_is_read() -> None:
    files = corpus()
    kinds = {name.split()[0] for name in files}
    assert kinds >= {"BMP", "GIF", "JPEG", "PNG", "PPM", "TGA", "TIFF", "WEBP"}
    refused: set[str] = set()
    for name, data in files.items():
        if name.startswith("EPS"):
            continue
        try:
            loaded = load_image(data)
        except ImageError:
            refused.add(name.split()[0])
        else:
            assert loaded.mode == "RGB"
    assert not refused & {"BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"}
    assert len(refused) < 5


def damage(data: bytes, seed: int, cut: bool) -> bytes:
    """Return a file with bytes changed, moved, doubled or cut off, mostly near its beginning."""
    dice = random.Random(seed)
    torn = bytearray(data[: dice.randrange(1, len(data) + 1)] if cut else data)
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        near = min(len(torn), dice.choice((64, 256, len(torn))))
        place = dice.randrange(near)
        match dice.randrange(7):
            case 0 | 1:
                torn[place] = dice.randrange(256)
            case 2:
                torn[place] ^= 1 << dice.randrange(8)
            case 3:
                torn[place : place + 4] = dice.choice(
                    (
                        b"\xff\xff\xff\xff",
                        b"\x7f\xff\xff\xff",
                        b"\x00\x00\x00\x00",
                        b"\x00\x00\x10\x00",
                    )
                )
            case 4:
                del torn[place : place + dice.randrange(1, 9)]
            case 5:
                stop = place + dice.randrange(1, 17)
                torn[place:place] = torn[place:stop]
            case _:
                stop, other = place + dice.randrange(1, 9), dice.randrange(near)
                torn[other : other + stop - place] = torn[place:stop]
        torn = torn or bytearray(b"\x00")
    return bytes(torn)


def read_carefully(data: bytes) -> None:
    """Assert that bytes are read as a picture or refused in one line, soon and in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "MAX_PIXELS", 4_000_000)
        try:
            loaded = load_image(data)
        except ImageError as error:
            assert_one_line(error)
        else:
            assert loaded.mode == "RGB"
            assert min(loaded.size) >= 1
    assert time.process_time() - start < MOST_SECONDS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_BYTES


@fuzz(st.integers(0, 10**6), st.integers(0, 2**62), st.booleans(), examples=150)
def test_damaged_files_are_pictures_or_one_line(file: int, seed: int, cut: bool) -> None:
    files = sorted(corpus())
    read_carefully(damage(corpus()[files[file % len(files)]], seed, cut))


@fuzz(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"II*\x00",
                       b"MM\x00*", b"BM", b"RIFF....WEBPVP8 ", b"P6 ", b"\x00\x00\x01\x00", b"icns",
                       b"8BPS", b"qoif", b"DDS ", b"\x0a\x05\x01", b"\x00\x00\x00\x0cjP  ", b"SIMPLE"]),
      st.binary(max_size=200), examples=80)  # fmt: skip
def test_any_bytes_are_pictures_or_one_line(magic: bytes, rest: bytes) -> None:
    read_carefully(magic + rest)


@fuzz(
    st.text(max_size=200), st.sampled_from(["", "data:image/png;base64,", "data:,", "data:image"])
)
def test_any_text_is_one_line(text: str, head: str) -> None:
    if not head and (text == "" or "/" in text or "\\" in text or text.strip(".") == ""):
        return
    with pytest.raises(ImageError) as caught:
        load_image(f"{head}{text}")
    assert_one_line(caught.value)
