"""Flickr30k Entities: captions whose phrases are tied to boxes.

    Annotations/1000092795.xml      size and objects; an object has the numbers of its phrases and a box or none
    Sentences/1000092795.txt        one caption a line: "[/EN#1/people Two young guys] with [/EN#2/bodyparts hair] ."
    flickr30k-images/1000092795.jpg
    train.txt                       one picture's number a line; where it is there, no other picture is read

A phrase with boxes is grounded in its caption; one without, such as a scene, stays plain words. One box may belong to
several phrases, and one phrase may have several boxes. A phrase that means one thing in one caption and another in
the next is left out of the expressions, not out of the captions.

Source: BryanPlummer/flickr30k_entities, README and getAnnotations (fields).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.expressions import clear_phrases
from fo1.data.converters.picture_files import PictureFolders, read_box
from fo1.data.schema import Box, Phrase, PictureRef, Record, TrueObject, check_record
from fo1.errors import InputError, short_name
from fo1.formats.limits import QUESTION_LENGTH, check_length, read_name
from fo1.formats.located import read_text
from fo1.tags import (
    GROUND_CLOSE,
    GROUND_OPEN,
    OBJECTS_CLOSE,
    OBJECTS_OPEN,
    neutralise,
    region_token,
)

SPLIT_FILE: Final = "train.txt"
FOLDERS: Final = ("flickr30k-images", "flickr30k_images", "images", ".")
CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_PHRASE = re.compile(r"\[/EN#(\d{1,18})((?:/[^\s\]/]+)*)\s+([^\[\]]+)\]")
_OBJECT = re.compile(r"<object\b")


@dataclass(slots=True)
class _Boxes:
    """The boxes of one picture: each once, and by the number of a phrase."""

    all: dict[Box, int] = field(default_factory=dict)
    of_phrase: dict[str, list[int]] = field(default_factory=dict)


def convert_flickr30k(
    source: Path, bad: BadRows, *, pictures: Path | None = None
) -> Iterator[Record]:
    """Return one record per picture; see the module for the layout.

    Args:
        source: folder that holds Annotations/ and Sentences/.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures or of flickr30k-images/.

    Raises:
        InputError: a folder is missing, or too many rows are bad.
    """
    if not (source / "Annotations").is_dir() or not (source / "Sentences").is_dir():
        raise InputError(f"{source} has no Annotations/ and Sentences/; unpack annotations.zip")
    folders = PictureFolders([(pictures or source) / name for name in FOLDERS])
    for name, listed, line in _names(source):
        sentences = source / "Sentences" / f"{name}.txt"
        annotations = source / "Annotations" / f"{name}.xml"
        bad.seen()
        try:
            picture = folders.refer(f"{name}.jpg")
        except InputError as error:
            bad.drop(listed, line, error)
            continue
        try:
            boxes = _read_boxes(annotations, picture, bad)
        except _Damaged as error:
            bad.drop(annotations, error.line, error)
            continue
        try:
            text = read_text(sentences)
        except InputError as error:
            bad.drop(sentences, None, error)
            continue
        captions, phrases = _read_sentences(sentences, text, boxes.of_phrase, bad)
        if captions:
            yield _record(name, picture, boxes, captions, phrases)


class _Damaged(InputError):
    """A whole file of annotations that cannot be used, and the line where that shows."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.line = line


def _names(source: Path) -> Iterator[tuple[str, Path, int | None]]:
    """Yield the pictures that are to be read, with the file that names each and the line there."""
    path = source / SPLIT_FILE
    if not path.is_file():
        for one in sorted((source / "Sentences").glob("*.txt")):
            yield one.stem, one, None
        return
    seen: set[str] = set()
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        name = text.strip().removesuffix(".jpg")
        if name and name not in seen:
            seen.add(name)
            yield name, path, line


def _read_boxes(path: Path, picture: PictureRef, bad: BadRows) -> _Boxes:
    """Return the boxes of a picture; an object that is none is a bad row.

    Raises:
        _Damaged: the file cannot be read, or is for a picture of another size.
        InputError: too many rows are bad.
    """
    try:
        text = read_text(path)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise _Damaged("it defines a document type; expected plain XML", 1)
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise _Damaged(f"no XML ({error}); copy it again", error.position[0]) from error
    except (InputError, ValueError) as error:
        raise _Damaged(str(error), getattr(error, "line", None)) from error
    told = tuple(root.findtext(f"size/{side}") for side in ("height", "width"))
    if told != (None, None) and picture.size and told != tuple(map(str, picture.size)):
        raise _Damaged(f"its size (height, width) is {told}, the picture's {picture.size}", 1)
    objects = root.findall("object")
    bad.seen(len(objects))
    lines = [text.count("\n", 0, found.start()) + 1 for found in _OBJECT.finditer(text)]
    found = _Boxes()
    for place, one in enumerate(objects):
        line = lines[place] if len(lines) == len(objects) else None
        try:
            numbers = [(name.text or "").strip() for name in one.findall("name")]
            if not numbers or not all(numbers):
                raise InputError("an object has no name; expected the number of its phrase")
            corners = one.find("bndbox")
            if corners is None:
                if (one.findtext("nobndbox"), one.findtext("scene")).count("1"):
                    continue
                raise InputError("an object has no bndbox, nobndbox or scene")
            box = read_box(_corners(corners), picture.size, what="bndbox")
        except InputError as error:
            bad.drop(path, line, error)
            continue
        number = found.all.setdefault(box, len(found.all))
        for name in dict.fromkeys(numbers):
            own = found.of_phrase.setdefault(name, [])
            if number not in own:
                own.append(number)
    return found


def _corners(element: ElementTree.Element) -> list[float]:
    texts = [element.findtext(name) for name in CORNERS]
    try:
        return [float(text or "") for text in texts]
    except ValueError as error:
        shown = short_name(str(texts), 60)
        raise InputError(f"bndbox is {shown}; expected {', '.join(CORNERS)}") from error


def _read_sentences(
    path: Path, content: str, boxes: Mapping[str, list[int]], bad: BadRows
) -> tuple[list[str], list[Phrase]]:
    """Return the captions of a picture with their markup, and their grounded phrases."""
    captions: list[str] = []
    phrases: list[Phrase] = []
    for line, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            continue
        bad.seen()
        try:
            caption, own = read_caption(text, boxes)
        except InputError as error:
            bad.drop(path, line, error)
            continue
        captions.append(caption)
        phrases += own
    return captions, phrases


def read_caption(text: str, boxes: Mapping[str, list[int]]) -> tuple[str, list[Phrase]]:
    """Return a caption in the answer markup and its grounded phrases.

    Args:
        text: with the markup of the data set.
        boxes: objects by the number of their phrase.

    Raises:
        InputError: its brackets do not fit together, or it is too long.

    Example:
        >>> read_caption("[/EN#7/people A man] sleeps .", {"7": [0]})[0]
        '<ground>A man</ground><objects><region0></objects> sleeps .'
    """
    check_length(text, "the caption", QUESTION_LENGTH)
    parts: list[str] = []
    phrases: list[Phrase] = []
    end = 0
    for found in _PHRASE.finditer(text):
        parts.append(_plain(text[end : found.start()]))
        end = found.end()
        words = read_name(found[3], "a phrase")
        objects = tuple(boxes.get(found[1], ()))
        if objects:
            regions = "".join(map(region_token, objects))
            words = f"{GROUND_OPEN}{words}{GROUND_CLOSE}{OBJECTS_OPEN}{regions}{OBJECTS_CLOSE}"
            phrases.append(Phrase(read_name(found[3]), objects))
        parts.append(words)
    parts.append(_plain(text[end:]))
    return check_length("".join(parts).strip(), "the caption", QUESTION_LENGTH), phrases


def _plain(text: str) -> str:
    if "[/EN#" in text:
        raise InputError(
            f"a phrase does not end: {short_name(text.strip(), 60)}; close its bracket"
        )
    return neutralise(text)


def _record(
    name: str, picture: PictureRef, boxes: _Boxes, captions: list[str], phrases: list[Phrase]
) -> Record:
    said: dict[int, dict[str, None]] = {}
    for one in phrases:
        if len(one.objects) == 1:  # "two men" is said of neither man
            said.setdefault(one.objects[0], {})[one.text] = None
    return check_record(
        Record(
            key=f"flickr30k/{name}",
            pictures=(picture,),
            objects=tuple(
                TrueObject(box, descriptions=tuple(said.get(number, ())))
                for box, number in boxes.all.items()
            ),
            phrases=clear_phrases(phrases),
            captions=tuple(dict.fromkeys(captions)),
            source=f"Sentences/{name}.txt",
        )
    )
