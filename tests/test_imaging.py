import base64
import contextlib
import io
import os
import random
import struct
import threading
import urllib.parse
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

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


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(RGB).permute(2, 0, 1),
        torch.tensor(RGB).permute(2, 0, 1).int(),
        torch.tensor(RGB).permute(2, 0, 1) / 255,
        (torch.tensor(RGB).permute(2, 0, 1) / 255).double(),
        (torch.tensor(RGB).permute(2, 0, 1) / 255).half(),
        (torch.tensor(RGB).permute(2, 0, 1) / 255).requires_grad_() * 1,
        torch.nn.Parameter(torch.tensor(RGB).permute(2, 0, 1) / 255),
        torch.cat([torch.tensor(RGB), torch.full((2, 3, 1), 255)], 2).permute(2, 0, 1),
        torch.tensor(RGB),
        torch.tensor(RGB).permute(2, 0, 1).contiguous(),
    ],
)
def test_torch_tensors_have_channels_first_or_last(tensor: torch.Tensor) -> None:
    np.testing.assert_array_equal(pixels(tensor), RGB)


def test_more_torch_tensors() -> None:
    rough = (torch.tensor(RGB).permute(2, 0, 1) / 255).bfloat16()
    np.testing.assert_allclose(pixels(rough).astype(int), RGB.astype(int), atol=1)
    grey = torch.tensor([[0, 100, 255]], dtype=torch.uint8)
    for tensor in (grey, grey[None], grey / 255, grey.expand(2, 3)[..., None]):
        assert pixels(tensor)[0, :, 0].tolist() == [0, 100, 255]
    # Torch's order wins where both could be meant.
    assert load_image(torch.zeros(3, 5, 3)).size == (3, 5)
    with torch.inference_mode():
        assert load_image(torch.rand(3, 4, 5)).size == (5, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu() -> None:
    tensor = torch.tensor(RGB, device="cuda").permute(2, 0, 1)
    np.testing.assert_array_equal(pixels(tensor), RGB)
    np.testing.assert_array_equal(pixels(tensor.half() / 255), RGB)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(8, 3, 4, 5), "shape (8, 3, 4, 5); give the pictures of a batch one by one"),
        (torch.zeros(2, 4, 5), "give (3, H, W)"),
        (torch.zeros(5), "shape (5,)"),
        (torch.zeros(()), "shape ()"),
        (torch.zeros(3, 0, 5), "no pixels"),
        (torch.full((3, 4, 5), 2.1), "float32 with values from 2.1 to 2.1; give 0 to 1"),
        (torch.full((3, 4, 5), torch.nan), "nan"),
        (torch.full((3, 4, 5), 300), "give 0 to 255"),
        (torch.zeros(3, 4, 5, device="meta"), "cannot read the tensor"),
        (torch.zeros(4, 5).to_sparse(), "give a dense one"),
        (torch.zeros(4, 5, dtype=torch.complex64), "complex64"),
    ],
)
def test_unusable_tensors(tensor: torch.Tensor, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tensor)
    assert words in str(caught.value)
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_source_is_never_shared() -> None:
    picture = Image.fromarray(RGB)
    array, tensor = RGB.copy(), torch.tensor(RGB).permute(2, 0, 1)
    for source in (picture, array, tensor):
        load_image(source).putpixel((0, 0), (1, 2, 3))
    assert picture.getpixel((0, 0)) == (250, 0, 0)
    np.testing.assert_array_equal(array, RGB)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), RGB)
    grey = np.full((2, 2), 7, np.uint8)
    load_image(grey).putpixel((0, 0), (1, 2, 3))
    assert grey.min() == 7


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
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
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
    data = encoded(stored, kind, exif=exif, **options)
    np.testing.assert_array_equal(pixels(data), upright)
    with Image.open(io.BytesIO(data)) as opened:  # by the caller, who still has the notes in it
        np.testing.assert_array_equal(pixels(opened), upright)
    again = load_image(load_image(data))
    np.testing.assert_array_equal(np.asarray(again), upright)


@pytest.mark.parametrize("notes", [b"garbage!!", b"", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"])
@pytest.mark.filterwarnings("error")
def test_damaged_notes_of_a_camera_cost_nothing(notes: bytes) -> None:
    data = encoded(Image.fromarray(RGB), exif=b"Exif\0\0" + notes)
    np.testing.assert_array_equal(pixels(data), RGB)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    assert pixels(rgba)[0, :, 0].tolist() == [255, 127, 0]
    grey = Image.fromarray(rgba).convert("LA")
    assert pixels(encoded(grey))[0, :, 0].tolist() == [255, 127, 0]
    for mode in ("RGBa", "La"):  # colours multiplied with opacity
        premultiplied = Image.fromarray(rgba).convert({"La": "LA"}.get(mode, "RGBA")).convert(mode)
        assert pixels(premultiplied)[0, :, 0].tolist() == [255, 127, 0]
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
    assert pixels(grey)[0, :, 0].tolist() == [0, 128, 255]
    assert pixels(torch.tensor(grey.astype(int)).to(torch.uint16))[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]


def by_hand(depth: int, color: int, row: bytes, clear: bytes = b"") -> bytes:
    """Return a PNG of one row of two pixels, of a kind that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", 2, 1, depth, color, 0, 0, 0)
    notes = chunk(b"tRNS", clear) if clear else b""
    body = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + notes + body


@pytest.mark.parametrize(
    ("color", "row", "clear", "expected"),
    [
        (2, (65535, 0, 0, 0, 32896, 0), (), [[255, 0, 0], [0, 128, 0]]),
        (2, (65535, 0, 0, 0, 65535, 0), (0, 65535, 0), [[255, 0, 0], [255, 255, 255]]),
        (6, (65535, 0, 0, 65535, 9, 9, 9, 0), (), [[255, 0, 0], [255, 255, 255]]),
        (4, (0, 65535, 0, 0), (), [[0, 0, 0], [255, 255, 255]]),
        (0, (0, 65535), (), [[0, 0, 0], [255, 255, 255]]),
        (0, (300, 32896), (300,), [[255, 255, 255], [128, 128, 128]]),
    ],
)
def test_png_of_16_bits(
    color: int, row: tuple[int, ...], clear: tuple[int, ...], expected: list[list[int]]
) -> None:
    data = by_hand(
        16, color, struct.pack(f">{len(row)}H", *row), struct.pack(f">{len(clear)}H", *clear)
    )
    assert pixels(data)[0].tolist() == expected


@pytest.mark.parametrize("values", [np.uint8([[0, 100, 255]]), np.uint16([[0, 25700, 65535]])])
def test_tiff_whose_least_value_is_white(values: np.ndarray) -> None:
    data = encoded(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    least_is_black = encoded(Image.fromarray(values), "TIFF")
    assert pixels(least_is_black)[0, :, 0].tolist() == [0, 100, 255]
    # Pillow turns the values over when it writes 8 bits, but not 16.
    assert pixels(data)[0, :, 0].tolist() == (
        [0, 100, 255] if values.itemsize == 1 else [255, 155, 0]
    )


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


PURE = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]])


@pytest.mark.parametrize("mode", ["P", "PA", "CMYK", "YCbCr", "HSV", "RGBa", "RGBX", "RGBA"])
def test_every_pil_mode_keeps_its_colours(mode: str) -> None:
    image = Image.fromarray(PURE)
    image = image.quantize(5).convert("PA") if mode == "PA" else image.convert(mode)
    np.testing.assert_allclose(pixels(image).astype(int), PURE.astype(int), atol=2)


def test_lab_and_grey_modes_keep_their_light() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(
        Image.fromarray(PURE), ImageCms.buildTransform(*profiles, "RGB", "LAB")
    )
    np.testing.assert_allclose(pixels(lab).astype(int), PURE.astype(int), atol=24)
    np.testing.assert_allclose(pixels(encoded(lab, "TIFF")).astype(int), PURE.astype(int), atol=24)
    grey = np.uint8([[0, 255, 255, 0]])
    for mode in ("1", "L", "LA", "I", "F"):
        assert pixels(Image.fromarray(grey).convert(mode))[0, :, 0].tolist() == grey[0].tolist()


def test_only_profiles_for_rgb_are_kept() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    inks = srgb[:16] + b"CMYK" + srgb[20:]
    picture = Image.fromarray(RGB)
    assert load_image(encoded(picture, icc_profile=srgb)).info == {"icc_profile": srgb}
    assert load_image(encoded(picture.convert("CMYK"), "JPEG", icc_profile=inks)).info == {}


def test_cmyk_jpeg_and_first_frame_of_an_animation() -> None:
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert pixels(encoded(white, "JPEG")).min() > 250
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = pixels(load_image(data))[0, 0]
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
        (np.full((2, 2), 256), "int64 with values from 256 to 256; give 0 to 255"),
        (np.full((2, 2), -1, np.int8), "int8"),
        (np.full((2, 2), 200, np.uint16), "if 255 is white, give uint8"),
        (np.zeros((7, 4, 5, 3), np.uint8), "list(batch)"),
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
    for kind in (np.int8, np.int32, np.int64, np.uint32, np.uint64):
        assert pixels(np.array([[0, 100]], kind))[0, :, 0].tolist() == [0, 100]
    assert pixels(np.zeros((2, 2), np.uint16)).max() == 0
    wide = np.linspace(0, 1, 3000 * 2000).reshape(3000, 2000)  # more than one block
    np.testing.assert_allclose(pixels(wide)[..., 0], wide * 255, atol=0.501)


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (10, 10)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_extreme_sizes(size: tuple[int, int], kind: str) -> None:
    picture = Image.new("RGB", size, (250, 120, 10))
    loaded = pixels(encoded(picture, kind))
    assert loaded.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(loaded.reshape(-1, 3).mean(0), (250, 120, 10), atol=4)


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
        ("", "path of the picture is empty"),
        (os.devnull, "is a device"),
        (Path("a\nb.jpg"), "does not exist"),
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


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%PDF-1.7\n", "is a PDF; export its page as PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is PostScript"),
        (b'<?xml version="1.0"?>\n<!-- hand made -->\n<svg width="9">', "is an SVG drawing"),
        (b"\xef\xbb\xbf<svg>", "is an SVG drawing"),
        (b"\n<!DOCTYPE html><html><svg></svg>", "is a web page; download the picture itself"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC picture; save it as JPEG or PNG"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "is a video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"II*\0\x08\0\0\0\1\0\0\1\3\0\1\0\0\0\1\0\0\0\0\0\0\0", "is a TIFF of an unknown kind"),
        (b"PK\3\4", "is not a picture that can be read"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, head: bytes, words: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(head)
    with pytest.raises(ImageError, match=r"a\.jpg") as caught:
        load_image(path)
    assert words in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(encoded(Image.fromarray(RGB)),))
    writer.start()
    np.testing.assert_array_equal(pixels(pipe), RGB)
    writer.join()


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"a\.png may not be read by this user; change its perm"):
        load_image(path)


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
    with pytest.raises(ImageError, match="20000 x 20000"):
        load_image(np.broadcast_to(np.uint8(0), (20_000, 20_000)))
    with pytest.raises(ImageError, match="20000 x 20000"):
        load_image(torch.zeros(1, device="meta").expand(3, 20_000, 20_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)  # callers set a limit of their own
    with pytest.raises(ImageError, match=r"more than 4 pixels, .* let the warning pass"):
        load_image(encoded(Image.new("RGB", (3, 2))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_image(encoded(Image.new("RGB", (3, 2)))).size == (3, 2)
    with pytest.raises(ImageError, match="at most 8 pixels"):
        load_image(encoded(Image.new("RGB", (3, 3))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # or switch Pillow's off
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
