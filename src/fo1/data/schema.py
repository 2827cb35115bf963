"""Record: one thing to learn from, whatever data set it came from.

    {"key": "coco/139",
     "pictures": [{"file": "images/139.jpg", "height": 426, "width": 640}],
     "objects": [{"box": [236.9, 142.5, 261.6, 212.0], "names": ["cat", "animal"]}],
     "phrases": [{"text": "the cat on the left", "objects": [0]}],
     "turns": [{"question": "What is <region0> doing?", "answer": "Sleeping."}],
     "looked_for": ["cat", "dog"]}

Boxes are float xyxy pixels of the original picture. In every text `<regionN>` names object N of the record; which
number its region gets in a prompt is decided when a sample is drawn (`sampling`). What is not known is left out: a
name that was not looked for is neither there nor absent.

One record is one line of a JSONL file, one row of a Parquet file or one group of a WebDataset shard (`storage`).
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fo1.errors import InputError, short_name
from fo1.formats.limits import COUNTS, QUESTION_LENGTH, SIDES, check_length, check_whole, read_name
from fo1.geometry import Size, check_boxes
from fo1.results import Proposals
from fo1.tags import regions_in

T = TypeVar("T")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Where a picture is.

    Attributes:
        file: path, absolute or relative to the folder of the file that holds the record.
        size: (height, width) that the boxes are for; None where nobody said.
        data: the encoded picture itself, where it travels inside the record.
    """

    file: str
    size: Size | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TrueObject:
    """One thing in a picture.

    Attributes:
        box: xyxy, pixels of the original picture.
        names: every name that is true of it, its own first; () where nobody named it.
        picture: index of the picture.
        unsure: names that are neither true nor false of it; never asked against it.
        texts: what is written on it, each a true reading; () where nobody read it.
        descriptions: what can be said of it.
        crowd: the box holds many of its kind, so regions inside are neither right nor wrong.
    """

    box: Box
    names: tuple[str, ...] = ()
    picture: int = 0
    unsure: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Phrase:
    """An expression and all objects that it means; none means that it fits nothing in the picture."""

    text: str
    objects: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a thing are in the picture, whether or not they have boxes."""

    noun: str
    number: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer; `<regionN>` names object N, answers may hold the answer markup."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """What is known of one picture, of several that are talked about together, or of a text alone.

    Attributes:
        key: unique in its data set; the same in every run.
        pictures: in the order in which texts speak of them; () for text alone.
        objects: true boxes.
        proposals: per picture what a proposer gave; () where none ran.
        phrases: referring expressions.
        captions: of the picture, with the answer markup around grounded phrases:
            "<ground>A cat</ground><objects><region0></objects> sleeps."
        counts: numbers of things.
        absent: names that were looked for and are not there.
        looked_for: names whose every instance is an object, so that any other region is not one; the names of
            `absent` count as looked for as well.
        partial: names of objects whose further instances may have no box.
        turns: one conversation, oldest first.
        source: file and line that it came from, for people.
    """

    key: str
    pictures: tuple[PictureRef, ...] = ()
    objects: tuple[TrueObject, ...] = ()
    proposals: tuple[Proposals, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    captions: tuple[str, ...] = ()
    counts: tuple[Count, ...] = ()
    absent: tuple[str, ...] = ()
    looked_for: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    turns: tuple[Exchange, ...] = ()
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, of JSON types alone; fields that hold nothing are left out."""
        found: dict[str, Any] = {"key": self.key}
        if self.pictures:
            found["pictures"] = [_picture_dict(one) for one in self.pictures]
        if self.objects:
            found["objects"] = [_object_dict(one) for one in self.objects]
        if self.proposals:
            found["proposals"] = [
                {"boxes": p.boxes.tolist(), "scores": p.scores.tolist(), "source": p.source}
                for p in self.proposals
            ]
        if self.phrases:
            found["phrases"] = [{"text": p.text, "objects": list(p.objects)} for p in self.phrases]
        if self.counts:
            found["counts"] = [{"noun": c.noun, "number": c.number} for c in self.counts]
        if self.turns:
            found["turns"] = [{"question": t.question, "answer": t.answer} for t in self.turns]
        for name in ("captions", "absent", "looked_for", "partial"):
            if getattr(self, name):
                found[name] = list(getattr(self, name))
        return found | ({"source": self.source} if self.source else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record, checked.

        Raises:
            InputError: a field is unknown, missing or of another type, a box lies outside its picture, or a text
                names an object that does not exist; one line that names the field.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"a record is a {type(values).__name__}; expected an object")
        unknown = set(values) - set(cls.__slots__)
        if unknown:
            known = ", ".join(cls.__slots__)
            raise InputError(f"unknown field {min(map(str, unknown))!r}; a record has: {known}")
        pictures = tuple(_picture(one) for one in _list(values, "pictures", Mapping))
        objects = tuple(_object(one, pictures) for one in _list(values, "objects", Mapping))
        record = cls(
            key=_text(values.get("key"), "key"),
            pictures=pictures,
            objects=objects,
            proposals=tuple(
                _proposals(one, picture)
                for one, picture in _paired(_list(values, "proposals", Mapping), pictures)
            ),
            phrases=tuple(
                Phrase(read_name(one.get("text"), "a phrase"), _indices(one, len(objects)))
                for one in _list(values, "phrases", Mapping)
            ),
            captions=tuple(_text(one, "a caption") for one in _list(values, "captions", str)),
            counts=tuple(
                Count(
                    read_name(one.get("noun"), "noun"),
                    check_whole(one.get("number"), "number", COUNTS),
                )
                for one in _list(values, "counts", Mapping)
            ),
            absent=_names(values, "absent"),
            looked_for=_names(values, "looked_for"),
            partial=_names(values, "partial"),
            turns=tuple(
                Exchange(_text(one.get("question"), "question"), _text(one.get("answer"), "answer"))
                for one in _list(values, "turns", Mapping)
            ),
            source=str(values.get("source", "")),
        )
        return check_record(record)


def check_record(record: Record) -> Record:
    """Return a record whose parts fit together; converters end with this.

    Raises:
        InputError: it has nothing to learn from, an object lies in no picture or outside it, a text names an
            object that does not exist, or a name is both there and absent.
    """
    for number, one in enumerate(record.objects):
        if not 0 <= one.picture < len(record.pictures):
            raise InputError(
                f"object {number} lies in picture {one.picture}, but there are {len(record.pictures)}"
            )
        check_true_box(one.box, record.pictures[one.picture].size, f"box of object {number}")
    if record.proposals and len(record.proposals) != len(record.pictures):
        raise InputError(
            f"got proposals for {len(record.proposals)} of {len(record.pictures)} pictures; give one list each"
        )
    texts = [*record.captions, *(t for turn in record.turns for t in (turn.question, turn.answer))]
    named = [n for text in texts for n in regions_in(text)]
    named += [n for phrase in record.phrases for n in phrase.objects]
    strange = [number for number in named if not 0 <= number < len(record.objects)]
    if strange:
        raise InputError(
            f"a text or phrase names object {strange[0]}, but there are {len(record.objects)}"
        )
    there = {name for one in record.objects for name in one.names}
    both = there & set(record.absent)
    if both:
        raise InputError(f"{min(both)!r} is listed as absent, but an object has this name")
    return record


def check_true_box(box: Sequence[float], size: Size | None, where: str = "box") -> Box:
    """Return a box that holds something: two sides above 0, at least partly in the picture.

    Raises:
        InputError: it does not.
    """
    found = check_boxes([box], size, where=where)[0]
    if not (found[2] > found[0] and found[3] > found[1]):
        raise InputError(f"{where} is {[round(float(v), 2) for v in box]}; need two sides above 0")
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2


def _picture_dict(one: PictureRef) -> dict[str, Any]:
    found: dict[str, Any] = {"file": one.file}
    if one.size:
        found |= {"height": one.size[0], "width": one.size[1]}
    if one.data is not None:
        found["data"] = base64.b64encode(one.data).decode("ascii")
    return found


def _picture(values: Mapping[str, Any]) -> PictureRef:
    _only(values, "a picture", ("file", "height", "width", "data"))
    size = None
    if "height" in values or "width" in values:
        sides = [check_whole(values.get(side), side, SIDES) for side in ("height", "width")]
        size = (sides[0], sides[1])
    data = values.get("data")
    if data is not None:
        try:
            data = base64.b64decode(_text(data, "data", most=None), validate=True)
        except ValueError as error:
            raise InputError("the data of a picture are not base64") from error
    return PictureRef(_text(values.get("file"), "file"), size, data)


def _object_dict(one: TrueObject) -> dict[str, Any]:
    found: dict[str, Any] = {"box": [round(value, 3) for value in one.box]}
    for name in ("names", "unsure", "texts", "descriptions"):
        if getattr(one, name):
            found[name] = list(getattr(one, name))
    return (
        found
        | ({"picture": one.picture} if one.picture else {})
        | ({"crowd": True} if one.crowd else {})
    )


def _object(values: Mapping[str, Any], pictures: Sequence[PictureRef]) -> TrueObject:
    _only(values, "an object", TrueObject.__slots__)
    picture = check_whole(values.get("picture", 0), "picture", range(max(len(pictures), 1)))
    size = pictures[picture].size if pictures else None
    crowd = values.get("crowd", False)
    if not isinstance(crowd, bool):
        raise InputError(f"crowd is {str(crowd)[:40]}; expected true or false")
    return TrueObject(
        box=check_true_box(values.get("box", ()), size),
        names=_names(values, "names"),
        picture=picture,
        unsure=_names(values, "unsure"),
        texts=tuple(_text(one, "a text") for one in _list(values, "texts", str)),
        descriptions=tuple(
            _text(one, "a description") for one in _list(values, "descriptions", str)
        ),
        crowd=crowd,
    )


def _proposals(values: Mapping[str, Any], picture: PictureRef) -> Proposals:
    _only(values, "proposals", ("boxes", "scores", "source"))
    boxes = check_boxes(values.get("boxes", ()), picture.size, where="proposals")
    try:
        scores = np.array(values.get("scores", [1.0] * len(boxes)), np.float32).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("scores of proposals are no list of numbers") from error
    if len(scores) != len(boxes):
        raise InputError(f"got {len(boxes)} proposals but {len(scores)} scores; give one each")
    return Proposals(boxes, scores, str(values.get("source", "")))


def _paired(rows: Sequence[T], pictures: Sequence[PictureRef]) -> list[tuple[T, PictureRef]]:
    if rows and len(rows) != len(pictures):
        raise InputError(
            f"got proposals for {len(rows)} of {len(pictures)} pictures; give one list each"
        )
    return list(zip(rows, pictures, strict=True)) if rows else []


def _indices(values: Mapping[str, Any], count: int) -> tuple[int, ...]:
    rows = _list(values, "objects", int)
    return tuple(check_whole(one, "an object of a phrase", range(max(count, 1))) for one in rows)


def _names(values: Mapping[str, Any], field_name: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            read_name(one, f"a name in {field_name}") for one in _list(values, field_name, str)
        )
    )


def _list(values: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    rows = values.get(name, [])
    if not isinstance(rows, list | tuple) or not all(isinstance(one, kind) for one in rows):
        raise InputError(f"{name} is {short_name(str(rows), 60)}; expected a list")
    return list(rows)


def _text(value: Any, what: str, most: int | None = QUESTION_LENGTH) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{what} is {short_name(repr(value), 40)}; expected a text")
    return value if most is None else check_length(value, what, most)


def _only(values: Mapping[str, Any], what: str, known: Iterable[str]) -> None:
    unknown = set(values) - set(known)
    if unknown:
        raise InputError(f"{what} has the unknown field {min(map(str, unknown))!r}")
