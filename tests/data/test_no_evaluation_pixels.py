"""No picture that nano trains on, nor any part of one it is measured on, may be the same."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageOps

from fo1.data.perceptual_hash import (
    EvaluationPicture,
    PerceptualHash,
    find_copy,
    perceptual_hash,
    read_evaluation_pictures,
    views,
)
from fo1.data.pictures import PicturePack
from fo1.data.scenes import Scene
from fo1.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "tests" / "fixtures" / "photos" / "chelsea.jpg"
LISTED_AS = "o004.jpg"


@pytest.fixture(scope="module")
def listed() -> tuple[EvaluationPicture, ...]:
    return read_evaluation_pictures(ROOT / "recipes" / "nano" / "evaluation_pictures.json")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(PHOTO).convert("RGB")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def changed_copies(photo: Image.Image) -> dict[str, Image.Image]:
    width, height = photo.size
    trimmed = photo.crop((width // 20, height // 20, width, height))
    inner = photo.crop((width // 40, height // 40, width - width // 40, height - height // 40))
    return {
        "the file itself": photo,
        "smaller": photo.resize((width // 2, height // 2)),
        "stretched": photo.resize((width, height * 5 // 4)),
        "JPEG again": jpeg(photo, 30),
        "cropped by 5 % at a corner": trimmed,
        "cropped by 5 % around": inner,
        "all at once": jpeg(trimmed.resize((width * 2 // 3, height * 2 // 3)), 50),
        "brighter": ImageEnhance.Brightness(photo).enhance(1.2),
        "grey": photo.convert("L"),
        "mirrored": ImageOps.mirror(photo),
        "left half": photo.crop((0, 0, width // 2, height)),
        "a corner": photo.crop((0, 0, width // 2, height // 2)),
        "the middle": photo.crop((width // 4, height // 4, width * 3 // 4, height * 3 // 4)),
        "transparent": photo.convert("RGBA"),
    }


def test_list_covers_every_evaluation_picture_and_holds_no_pixels(
    listed: tuple[EvaluationPicture, ...],
) -> None:
    assert [picture.file for picture in listed] == [f"o{n:03}.jpg" for n in range(1, 31)]
    assert all(picture.source for picture in listed)
    assert all(len(picture.hashes) >= 18 for picture in listed)


def test_positive_control_changed_copies_are_caught(
    listed: tuple[EvaluationPicture, ...], photo: Image.Image
) -> None:
    for name, copy in changed_copies(photo).items():
        found = find_copy(copy, listed)
        assert found is not None, f"not caught: {name}"
        assert found.file == LISTED_AS, name


def test_no_picture_of_the_pack_is_near(
    pack: PicturePack, listed: tuple[EvaluationPicture, ...]
) -> None:
    near = {
        pack.infos[number]: found.file
        for number in range(len(pack))
        if (found := find_copy(pack.picture(number), listed)) is not None
    }
    assert not near


def test_no_committed_picture_of_recipes_or_package_is_near(
    listed: tuple[EvaluationPicture, ...],
) -> None:
    endings = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    for folder in ("data", "recipes", "src"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix.lower() in endings:
                with Image.open(path) as image:
                    assert find_copy(image.convert("RGBA"), listed) is None, path


def test_no_scene_is_near(scenes: list[Scene], listed: tuple[EvaluationPicture, ...]) -> None:
    assert not [scene.index for scene in scenes if find_copy(scene.image, listed) is not None]


def test_a_planted_copy_would_be_found_in_a_scene(
    scenes: list[Scene], listed: tuple[EvaluationPicture, ...], photo: Image.Image
) -> None:
    # A ground taken from a photo, with one thing pasted over it, is still a copy.
    ground = photo.copy()
    ground.paste(scenes[0].image.resize((60, 60)), (20, 20))
    assert find_copy(ground, listed) is not None


def test_unlike_pictures_are_far(photo: Image.Image, pack: PicturePack) -> None:
    one, two = perceptual_hash(photo), perceptual_hash(pack.picture(0))
    assert one is not None
    assert two is not None
    assert not one.near(two)


def test_flat_pictures_say_nothing() -> None:
    assert perceptual_hash(Image.new("RGB", (50, 50), "teal")) is None
    assert perceptual_hash(Image.new("RGBA", (50, 50))) is None


def test_hashes_survive_writing(photo: Image.Image) -> None:
    own = perceptual_hash(photo)
    assert own is not None
    assert PerceptualHash.parse(str(own)) == own
    assert sum(1 for _ in views(photo)) == 36
    with pytest.raises(InputError, match="32 hexadecimal digits, got 3"):
        PerceptualHash.parse("abc")


def test_a_missing_list_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hash_evaluation_pictures"):
        read_evaluation_pictures(tmp_path / "none.json")
