from pathlib import Path

import pytest

from fo1.data.converters import convert
from fo1.data.converters.flickr30k import read_caption
from fo1.data.schema import Phrase
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read

NAME = "1000092795"
CAPTIONS = (
    "[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] in [/EN#3/scene the yard] .",
    "[/EN#4/people A guy] <region5> [/EN#5/people a guy] [/EN#0/notvisual it] .",
)


def box(*names: int, corners: tuple[object, ...] = (4, 5, 24, 35)) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    inner = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(tags, corners, strict=True))
    return f"{_names(names)}<bndbox>{inner}</bndbox>"


def _names(names: tuple[int, ...]) -> str:
    return "".join(f"<name>{name}</name>" for name in names)


OBJECTS = (
    box(1, 4),
    box(1, 5, corners=(30, 5, 50, 35)),
    box(2, corners=(6, 5, 20, 12)),
    "<name>3</name><scene>1</scene><nobndbox>0</nobndbox>",
)


def write(
    folder: Path,
    objects: tuple[str, ...] = OBJECTS,
    captions: tuple[str, ...] = CAPTIONS,
    name: str = NAME,
) -> Path:
    for part in ("Annotations", "Sentences"):
        (folder / part).mkdir(exist_ok=True)
    rows = "\n".join(f"<object>{one}</object>" for one in objects)
    (folder / f"Annotations/{name}.xml").write_text(
        f"<annotation>\n<filename>{name}.jpg</filename>\n"
        f"<size><width>64</width><height>48</height><depth>3</depth></size>\n{rows}\n</annotation>"
    )
    (folder / f"Sentences/{name}.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    paint(folder / f"flickr30k-images/{name}.jpg")
    return folder


def test_the_official_layout(tmp_path: Path) -> None:
    records, bad = read("flickr30k-entities", write(tmp_path))
    assert bad.bad == []
    record = records[f"flickr30k/{NAME}"]
    assert record.captions == (
        "<ground>Two young guys</ground><objects><region0><region1></objects> with "
        "<ground>shaggy hair</ground><objects><region2></objects> in the yard .",
        "<ground>A guy</ground><objects><region0></objects> \u2039region5\u203a "
        "<ground>a guy</ground><objects><region1></objects> it .",
    )
    assert record.phrases == (Phrase("Two young guys", (0, 1)), Phrase("shaggy hair", (2,)))
    assert [(one.box, one.descriptions) for one in record.objects] == [
        ((4.0, 5.0, 24.0, 35.0), ("A guy",)),
        ((30.0, 5.0, 50.0, 35.0), ("a guy",)),
        ((6.0, 5.0, 20.0, 12.0), ("shaggy hair",)),
    ]
    assert record.looked_for == ()
    assert is_drawn(record)


def test_only_the_training_split_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, name="36979")
    assert len(read("flickr30k-entities", tmp_path)[0]) == 2
    (tmp_path / "train.txt").write_text("36979\n36979\n7\n")
    records, bad = read("flickr30k-entities", tmp_path)
    assert list(records) == ["flickr30k/36979"]
    assert places(bad) == [("train.txt", 3)]


@pytest.mark.parametrize(
    "row",
    [
        box(9, corners=(4, 5, 4, 35)),
        box(9, corners=(64, 5, 70, 35)),
        box(9, corners=("a", 5, 70, 35)),
        box(9, corners=("nan", 5, 70, 35)),
        box(),
        "<name>9</name>",
    ],
)
def test_bad_boxes_are_told_with_their_line(tmp_path: Path, row: str) -> None:
    records, bad = read("flickr30k-entities", write(tmp_path, (*OBJECTS, row)))
    assert len(records[f"flickr30k/{NAME}"].objects) == 3
    assert places(bad) == [(f"{NAME}.xml", 8)]


def test_bad_captions_are_told_with_their_line(tmp_path: Path) -> None:
    captions = (CAPTIONS[0], "[/EN#1/people Two guys stand .", "a" * 20_000, CAPTIONS[1])
    records, bad = read("flickr30k-entities", write(tmp_path, captions=captions))
    assert len(records[f"flickr30k/{NAME}"].captions) == 2
    assert places(bad) == [(f"{NAME}.txt", 2), (f"{NAME}.txt", 3)]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("<annotation>\n<object>\n</annotation>", 3),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', 1),
        ("<annotation><size><width>48</width><height>64</height></size></annotation>", 1),
        ("", 1),
    ],
)
def test_damaged_annotations_are_told(tmp_path: Path, content: str, line: int) -> None:
    write(tmp_path)
    (tmp_path / f"Annotations/{NAME}.xml").write_text(content)
    records, bad = read("flickr30k-entities", tmp_path)
    assert records == {}
    assert places(bad) == [(f"{NAME}.xml", line)]


def test_missing_files_are_told(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        write(tmp_path, name=name)
    (tmp_path / "flickr30k-images/1.jpg").unlink()
    (tmp_path / "Annotations/2.xml").unlink()
    (tmp_path / "Sentences/3.txt").write_bytes(b"a\n\xff")
    records, bad = read("flickr30k-entities", tmp_path)
    assert records == {}
    assert places(bad) == [("1.txt", None), ("2.xml", None), ("3.txt", None)]


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, tuple(box(n, corners=(4, 4, 4, 4)) for n in range(20)))
    with pytest.raises(InputError, match=rf"the first is .*{NAME}\.xml:4: bndbox"):
        list(convert("flickr30k-entities", tmp_path))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no Annotations/ and Sentences/"):
        list(convert("flickr30k-entities", tmp_path))


def test_a_phrase_without_boxes_stays_words() -> None:
    assert read_caption("[/EN#7/people/other A man] sits [ .", {}) == ("A man sits [ .", [])
