import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.data.converters import convert, detect_format
from fo1.data.schema import Exchange, Record
from fo1.data.storage.pictures import open_picture
from fo1.errors import InputError
from fo1.results import Detections
from fo1.visualize import draw
from tests.data.converters.drawn import paint, places, read


def said(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def row(*texts: str, **fields: object) -> dict[str, Any]:
    return {"id": "1", "image": "a.jpg", "conversations": said(*texts), **fields}


GOOD = row("<image>\nWhat is this?", "A cat.", "Why?", "It has whiskers.")


def write(folder: Path, *rows: object, name: str = "rows.json") -> Path:
    path = folder / name
    if path.suffix == ".json":
        path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    for picture in ("a.jpg", "b.jpg", "c.jpg"):
        paint(folder / "images" / picture)
    return path


def only(folder: Path, *rows: object, name: str = "rows.json") -> Record:
    write(folder, *rows, name=name)
    records, bad = read("conversations", folder)
    assert bad.bad == []
    (record,) = records.values()
    return record


def can_be_drawn(record: Record) -> bool:
    """Return whether a box on the first picture of a record, which has none of its own, is seen."""
    image = open_picture(record, 0)
    one, box = np.ones(1, np.float32), np.array([[8, 8, 40, 40]], np.float32)
    found = Detections(box, ("it",), one, np.zeros(1, np.int64), (image.height, image.width))
    return bool((np.asarray(draw(image, found)) != np.asarray(image)).any())


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_a_conversation_about_a_picture(tmp_path: Path, name: str) -> None:
    record = only(tmp_path, GOOD, name=name)
    assert detect_format(tmp_path) == "conversations"
    assert record.key == "conversations/1"
    assert record.pictures[0].size == (48, 64)
    assert record.turns == (
        Exchange("What is this?", "A cat."),
        Exchange("Why?", "It has whiskers."),
    )
    assert record.objects == record.looked_for == record.captions == ()
    assert record.source == f"{name}:{2 if name == 'rows.json' else 1}"
    assert can_be_drawn(record)


def test_text_alone(tmp_path: Path) -> None:
    values = row("How old is the moon?", "4.5 billion years.")
    del values["image"]
    record = only(tmp_path, values)
    assert record.pictures == ()
    assert record.turns == (Exchange("How old is the moon?", "4.5 billion years."),)


def test_messages_with_roles(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>What is this?"},
        {"role": "assistant", "content": "A cat."},
    ]
    record = only(tmp_path, {"messages": messages, "images": ["b.jpg"]}, name="rows.jsonl")
    assert record.key == "conversations/0"
    assert Path(record.pictures[0].file).name == "b.jpg"
    assert record.turns == (Exchange("Be brief.\nWhat is this?", "A cat."),)


def test_a_field_that_holds_nothing_hides_no_other(tmp_path: Path) -> None:
    messages = [
        {
            "from": None,
            "role": "user",
            "value": None,
            "content": [{"type": "text", "text": "Who?"}],
        },
        {"from": None, "role": "assistant", "value": None, "content": "A cat."},
    ]
    messages[0]["content"].append({"type": "image", "image": None, "path": "b.jpg"})  # pyright: ignore
    record = only(tmp_path, {"conversations": None, "messages": messages, "image": None})
    assert Path(record.pictures[0].file).name == "b.jpg"
    assert record.turns == (Exchange("Who?", "A cat."),)


def test_contents_in_parts(tmp_path: Path) -> None:
    content = [
        {"type": "image", "image": "b.jpg"},
        {"type": "image_url", "image_url": {"url": "c.jpg"}},
        {"type": "text", "text": "Which is larger?"},
    ]
    answer = [{"type": "text", "text": "The first."}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    record = only(tmp_path, {"messages": messages})
    assert [Path(one.file).name for one in record.pictures] == ["b.jpg", "c.jpg"]
    assert record.turns == (Exchange("Which is larger?", "The first."),)


@pytest.mark.parametrize(
    ("first", "later", "questions"),
    [
        ("<image>\n<image>\n<image>\nHi", "So?", ("Hi", "So?")),
        ("Hi\n<image><image>\n<image>", "So?", ("Hi", "So?")),
        ("<image> or <image>", "And <image>?", ("picture 1 or picture 2", "And picture 3?")),
        ("Is <image> <image>?", "So?", ("Is picture 1 picture 2?", "So?")),
        ("<image>\nHi", "<image><image>\nSo?", ("Hi", "Picture 2 and picture 3: So?")),
        ("<image>\nHi", "So?\n<image>", ("Hi", "So?\npicture 2")),
        ("Hi", "So?", ("Hi", "So?")),
    ],
)
def test_where_placeholders_stand(
    tmp_path: Path, first: str, later: str, questions: tuple[str, ...]
) -> None:
    values = row(first, "A", later, "B", image=["a.jpg", "b.jpg", "c.jpg"])
    record = only(tmp_path, values)
    assert tuple(turn.question for turn in record.turns) == questions
    assert len(record.pictures) == 3


def test_a_single_picture_has_no_number(tmp_path: Path) -> None:
    assert only(tmp_path, row("Is <image> red?", "No.")).turns[0].question == "Is the picture red?"
    record = only(tmp_path, row("Hi", "Yes?", "<image>\nIs it red?", "No."))
    assert record.turns[1].question == "The picture: Is it red?"


def test_nothing_in_a_text_acts_as_markup(tmp_path: Path) -> None:
    question = "What is <region0>, <ground> and <regionfeat>, if x < 3?"
    answer = "<Region0> <objects> <image> <|im_end|> <think>: use <b>bold</b>, x<y."
    (turn,) = only(tmp_path, row(question, answer)).turns
    assert turn.question == (
        "What is \u2039region0\u203a, \u2039ground\u203a and \u2039regionfeat\u203a, if x < 3?"
    )
    assert turn.answer == (
        "\u2039Region0\u203a \u2039objects\u203a \u2039image\u203a \u2039|im_end|\u203a "
        "\u2039think\u203a: use <b>bold</b>, x<y."
    )


def test_many_rows_may_share_an_id(tmp_path: Path) -> None:
    write(tmp_path, GOOD, GOOD, row("Hi", "Yes?", id=" "), row("Hi", "Yes?", id=None))
    records, bad = read("conversations", tmp_path)
    assert list(records) == [f"conversations/{name}" for name in ("1", "1-2", "2", "3")]
    assert bad.bad == []


def test_pictures_inside_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    Image.new("RGB", (64, 48)).save(stream, "PNG")
    rows = [
        {**GOOD, "image": {"bytes": stream.getvalue(), "path": "x/a.png"}},
        {**GOOD, "image": {"bytes": b"no picture", "path": None}},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    records, bad = read("conversations", tmp_path)
    (record,) = records.values()
    assert (record.pictures[0].file, record.pictures[0].data) == ("a.png", stream.getvalue())
    assert can_be_drawn(record)
    assert places(bad) == [("train.parquet", None)]
    assert "row 1" in bad.bad[0].problem


BAD: dict[str, Any] = {
    "no object": 7,
    "no messages": {"id": "2", "image": "a.jpg"},
    "empty": row(),
    "strange messages": row(conversations="Hi"),
    "strange message": row(conversations=["Hi", "Yes?"]),
    "no answer": row("Hi", "Yes?", "Why?"),
    "answer first": row(conversations=said("", "Yes?")[1:]),
    "two questions": row(conversations=said("Hi") * 2),
    "another role": row(conversations=[{"from": "tool", "value": "x"}, *said("Hi", "Yes?")[1:]]),
    "a later system": row(conversations=[*said("Hi", "Yes?"), {"from": "system", "value": "x"}]),
    "empty answer": row("Hi", " \n"),
    "no text": row(conversations=[{"from": "human", "value": 7}, {"from": "gpt", "value": "x"}]),
    "only a placeholder": row("<image>", "A cat."),
    "too long": row("a" * 10_001, "A cat."),
    "strange part": row(
        conversations=[{"role": "user", "content": [{"type": "video"}]}, *said("", "x")[1:]]
    ),
    "not there": row("Hi", "Yes?", image="gone.jpg"),
    "strange picture": row("Hi", "Yes?", image=7),
    "URL": row("Hi", "Yes?", image="http://example.com/a.jpg"),
    "more placeholders": row("<image> <image>", "Yes?"),
    "placeholder without picture": row("<image>\nHi", "Yes?", image=None),
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, values: object) -> None:
    write(tmp_path, GOOD, values)
    records, bad = read("conversations", tmp_path)
    assert list(records) == ["conversations/1"]
    assert places(bad) == [("rows.json", 3)]


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD, *[row("Hi", "")] * 20)
    with pytest.raises(InputError, match=r"the first is .*rows\.json:3: message 1 is ''"):
        list(convert("conversations", tmp_path))


def test_what_is_for_measuring_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, name="rows_val.json")
    with pytest.raises(InputError, match="only files for measuring"):
        list(convert("conversations", tmp_path))
    assert len(read("conversations", path)[0]) == 1
