import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fo1.data.pictures import COLOUR_WORDS, PicturePack, dominant_colour
from fo1.errors import InputError


def test_pack_is_small_and_rich(pack: PicturePack) -> None:
    assert pack.path.stat().st_size <= 14_000_000
    assert len(pack.concepts) >= 700
    assert len(pack) >= 5000
    assert len(pack.lineages) == 8
    assert set(pack.licences.values()) == {"Apache-2.0", "MIT", "CC-BY-4.0"}
    assert len(pack.held_out) == 50
    assert len({pack.concepts[slug].group for slug in pack.held_out}) >= 8


def test_index_tells_the_truth_about_the_pictures(pack: PicturePack) -> None:
    for info in pack.infos[::97]:
        picture = pack.picture(info.index)
        assert picture.mode == "RGBA"
        assert picture.size == (info.width, info.height)
        assert max(picture.size) == 128
        alpha = np.asarray(picture.getchannel("A"))
        edges = (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])
        assert all(edge.max() > 0 for edge in edges), "the picture is not cropped to its pixels"
        assert info.colour == dominant_colour(picture)
        assert info.colour in ("", *COLOUR_WORDS)


def test_every_concept_has_a_name_of_its_own(pack: PicturePack) -> None:
    names = Counter(concept.name for concept in pack.concepts.values())
    assert max(names.values()) == 1
    drawn = Counter(info.concept for info in pack.infos)
    assert set(drawn) == set(pack.concepts)
    assert min(drawn.values()) >= 2
    for concept in pack.concepts.values():
        words = concept.names
        assert len(set(words)) == len(words), concept
        assert all(word == word.lower().strip() and word for word in words), concept
        assert not set(words) & set(concept.lookalikes), concept


def test_face_and_whole_animal_are_one_concept(pack: PicturePack) -> None:
    assert "dog-face" not in pack.concepts
    assert len(pack.select(concepts=["dog"], styles=["noto"])) >= 2


def test_select(pack: PicturePack) -> None:
    chosen = pack.select(lineages=["fluent"], concepts=["cat"])
    assert {info.style for info in chosen} <= {"fluent-emoji", "fluent-emoji-flat", "fluent-3d"}
    assert {info.concept for info in chosen} == {"cat"}
    with pytest.raises(InputError, match="no lineage 'crayon'"):
        pack.select(lineages=["crayon"])
    with pytest.raises(InputError, match="no concept"):
        pack.select(concepts=["quark"])


def test_no_drawing_of_the_held_out_lineage_is_copied_in_another(pack: PicturePack) -> None:
    def thumb(index: int) -> np.ndarray:
        small = pack.picture(index).resize((24, 24), Image.Resampling.BOX)
        ground = Image.new("RGBA", small.size, "white")
        ground.alpha_composite(small)
        return np.asarray(ground.convert("RGB")).astype(np.float32)

    kept: dict[str, list[int]] = {}
    for info in pack.select(lineages=["twemoji"]):
        kept.setdefault(info.concept, []).append(info.index)
    for slug in list(kept)[::5]:
        others = [i.index for i in pack.select(concepts=[slug]) if i.lineage != "twemoji"]
        for mine in kept[slug]:
            gaps = [float(np.abs(thumb(mine) - thumb(other)).mean()) for other in others]
            assert min(gaps, default=99.0) > 4, slug


def test_a_missing_or_damaged_pack_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no picture pack.*build_pictures\.py"):
        PicturePack.open(tmp_path / "pictures.zip")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="not a picture pack"):
        PicturePack.open(broken)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="not a picture pack"):
        PicturePack.open(tmp_path / "other.zip")


def test_a_pack_can_be_sent_to_a_worker(pack: PicturePack) -> None:
    pack.picture(0)
    twin = pickle.loads(pickle.dumps(pack))
    assert twin.infos == pack.infos
    assert twin.picture(7).tobytes() == pack.picture(7).tobytes()


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((210, 30, 30), "red"),
        ((40, 90, 210), "blue"),
        ((45, 160, 60), "green"),
        ((250, 215, 40), "yellow"),
        ((20, 20, 20), "black"),
        ((250, 250, 250), "white"),
        ((120, 70, 35), "brown"),
    ],
)
def test_dominant_colour(rgb: tuple[int, int, int], word: str) -> None:
    image = Image.new("RGBA", (60, 60))
    ImageDraw.Draw(image).ellipse((5, 5, 55, 55), fill=(*rgb, 255))
    assert dominant_colour(image) == word


def test_no_colour_word_for_a_patchwork() -> None:
    image = Image.new("RGBA", (60, 60), (220, 30, 30, 255))
    image.paste((30, 60, 220, 255), (0, 0, 30, 60))
    assert dominant_colour(image) == ""
    assert dominant_colour(Image.new("RGBA", (9, 9))) == ""
