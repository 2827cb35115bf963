r"""General conversations about pictures, or about none.

    [{"id": "1", "image": "a.jpg",                  or a list of pictures, or "images", or none for text alone
      "conversations": [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A cat."}]}]

    {"messages": [{"role": "user", "content": "What is this?"}, {"role": "assistant", "content": "A cat."}]}

As one list, one object a line, or Parquet. A content may be a list of parts: {"type": "text", "text"} and {"type":
"image", ...}. Our pictures stand before the first question, so placeholders at its beginning or at its end go away; all
others become words, such as "picture 2". A system message is put before the first question. What people wrote never
acts as markup.

Source: haotian-liu/LLaVA, docs/Finetune_Custom_Data.md.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.picture_files import PictureFolders
from fo1.data.converters.rows import (
    Keys,
    find_training_tables,
    first_of,
    picture_folders,
    read_picture,
    records_of,
    source_of,
    table_rows,
)
from fo1.data.schema import Exchange, Record, check_record
from fo1.errors import InputError, short_name
from fo1.formats.limits import QUESTION_LENGTH, check_length
from fo1.formats.tables import TableRow
from fo1.tags import IMAGE_PLACEHOLDER, guard, neutralise

ASKS: Final = frozenset(("human", "user"))
ANSWERS: Final = frozenset(("gpt", "assistant", "chatgpt", "model", "bot"))
SYSTEM: Final = "system"

_MARKUP = re.compile(
    r"<(/?(?:ground|objects?|think|answer)|region(?:[0-9]+|feat))>", re.IGNORECASE | re.ASCII
)
_BEFORE = re.compile(rf"\A(?:\s*{IMAGE_PLACEHOLDER})+\s*")
_BEHIND = re.compile(rf"\s*(?:{IMAGE_PLACEHOLDER}\s*)+\Z")


def convert_conversations(
    source: Path, bad: BadRows, *, pictures: Path | None = None
) -> Iterator[Record]:
    """Return one record per conversation; see the module for the forms.

    Args:
        source: folder or table.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, where they do not lie beside the table or in images/.

    Raises:
        InputError: there is no table, or too many rows are bad.
        MissingExtraError: a table is Parquet and pyarrow is not installed.
    """
    rows = table_rows(find_training_tables(source), bad)
    folders = picture_folders(source, pictures)
    yield from records_of(rows, _record, folders, Keys("conversations"), bad)


def _record(row: TableRow, folders: PictureFolders, keys: Keys) -> Record:
    """Return the record of a row.

    Raises:
        InputError: it is no conversation, or a picture is missing or damaged.
    """
    names = pictures_of(row.values)
    said = read_said(row.values)
    found = tuple(read_picture(n, folders, f"{row.number}-{i}") for i, n in enumerate(names))
    turns = paired(place_pictures(said, len(found)))
    return check_record(
        Record(
            key=keys.new(row.values.get("id"), row.number),
            pictures=found,
            turns=tuple(Exchange(clean_question(q), clean_answer(a)) for q, a in turns),
            source=source_of(row),
        )
    )


def pictures_of(values: Mapping[str, Any]) -> list[Any]:
    """Return what a row names as its pictures; those of a content's parts behind the others."""
    found: list[Any] = []
    for field in ("image", "images"):
        one = values.get(field)
        if isinstance(one, list):
            found += one
        elif one is not None and one != "":
            found.append(one)
    if found:
        return found
    for message in messages_of(values):
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") in ("image", "image_url"):
                named = first_of(part, "image", "image_url", "path")
                found.append(
                    named.get("url") if isinstance(named, dict) and "url" in named else named
                )
    return found


def read_said(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (role, text) of a conversation: "human" and "gpt" by turns, the system's words in the first question.

    Raises:
        InputError: a role is not known or out of turn, something is empty or too long, or an answer is missing.
    """
    said: list[tuple[str, str]] = []
    system = ""
    for number, message in enumerate(messages_of(values)):
        if not isinstance(message, dict):
            raise InputError(f"message {number} is a {type(message).__name__}; expected an object")
        role = first_of(message, "from", "role")
        text = _text(first_of(message, "value", "content"), number)
        if role == SYSTEM and number == 0:
            system = text.strip()
            continue
        wanted, name = (ANSWERS, "gpt") if len(said) % 2 else (ASKS, "human")
        if not isinstance(role, str) or role not in wanted:
            shown = short_name(repr(role), 30)
            raise InputError(f"message {number} is from {shown}; expected {name!r}, by turns")
        said.append((name, text))
    if len(said) < 2 or len(said) % 2:
        raise InputError(f"{len(said)} messages; expected questions and answers by turns")
    if system:
        said[0] = ("human", _under(system, said[0][1]))
    return said


def place_pictures(said: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """Return messages without placeholders; those that stand within words become words.

    Args:
        said: (role, text).
        count: pictures of the conversation.

    Raises:
        InputError: there are more placeholders than pictures.
    """
    placed = sum(text.count(IMAGE_PLACEHOLDER) for role, text in said if role == "human")
    if placed > count:
        raise InputError(f"the questions place {placed} pictures, but the row has {count}")
    found: list[tuple[str, str]] = []
    number = 0
    for place, (role, text) in enumerate(said):
        if role != "human":
            found.append((role, text))
            continue
        if place == 0 and (rest := _without_edge(text)) is not None:
            number += text.count(IMAGE_PLACEHOLDER)
            text = rest
        elif place and (opening := _BEFORE.match(text)):
            own = range(number + 1, number + 1 + opening[0].count(IMAGE_PLACEHOLDER))
            number = own[-1]
            text = f"{_called(own, count).capitalize()}: {text[opening.end() :]}"
        pieces = text.split(IMAGE_PLACEHOLDER)
        words = pieces[0]
        for piece in pieces[1:]:
            number += 1
            words += _called(range(number, number + 1), count) + piece
        found.append((role, words))
    return found


def paired(said: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (question, answer) of messages by turns."""
    return [(said[i][1], said[i + 1][1]) for i in range(0, len(said), 2)]


def clean_question(text: str, *, keep_regions: bool = False) -> str:
    """Return a question as it is asked of a model: nothing in it acts as markup.

    Raises:
        InputError: nothing is left.
    """
    return _some(neutralise(text.strip(), keep_regions=keep_regions), "a question")


def clean_answer(text: str, *, keep_regions: bool = False) -> str:
    """Return an answer in which our own tags are words; others stay, since an answer may hold code.

    Raises:
        InputError: nothing is left.
    """

    def harmless(match: re.Match[str]) -> str:
        kept = keep_regions and match[1][:6].lower() == "region" and match[1][6:].isdigit()
        return match[0].lower() if kept else f"\u2039{match[1]}\u203a"

    return _some(_MARKUP.sub(harmless, guard(text.strip())), "an answer")


def _under(system: str, question: str) -> str:
    """Return a question with the system's words behind the placeholders that it begins with."""
    opening = _BEFORE.match(question)
    end = opening.end() if opening else 0
    return f"{question[:end]}{system}\n{question[end:]}"


def _without_edge(text: str) -> str | None:
    """Return a text whose placeholders all stand together at its beginning or end, without them; None otherwise."""
    for edge in (_BEFORE, _BEHIND):
        rest = edge.sub("", text)
        if IMAGE_PLACEHOLDER not in rest:
            return rest
    return None


def _called(numbers: Sequence[int], count: int) -> str:
    if count == 1:
        return "the picture"
    return " and ".join(f"picture {number}" for number in numbers)


def messages_of(values: Mapping[str, Any]) -> list[Any]:
    """Return the messages of a row as they stand.

    Raises:
        InputError: it has none.
    """
    found = first_of(values, "conversations", "messages")
    if not isinstance(found, list) or not found:
        raise InputError("no 'conversations' or 'messages'; expected a list of messages")
    return found


def _text(content: Any, number: int) -> str:
    if isinstance(content, list):
        parts: list[str] = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                parts.append(part["text"])
            elif kind in ("image", "image_url"):
                parts.append(IMAGE_PLACEHOLDER)
            else:
                raise InputError(
                    f"message {number} has a part {short_name(str(part), 40)}; expected text or image"
                )
        content = "\n".join(parts)
    if not isinstance(content, str) or not content.strip():
        raise InputError(f"message {number} is {short_name(repr(content), 40)}; expected a text")
    return check_length(content, f"message {number}", QUESTION_LENGTH)


def _some(text: str, what: str) -> str:
    if not text.strip():
        raise InputError(f"{what} is empty; expected a text")
    return text
