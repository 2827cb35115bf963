"""Chats: pictures with regions and what was said about them, and what the model writes next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, cast

import numpy as np

from fo1 import layout, tags
from fo1.errors import InputError, QueryError
from fo1.layout import Picture, Role, Turn
from fo1.parsing import parse_answer, plain_text
from fo1.pipeline.engine import Engine
from fo1.pipeline.request import EncodedScene
from fo1.pipeline.rows import Row
from fo1.prompts import clean_name
from fo1.results import Answer, Detections
from fo1.tiles import Tile, split

_CURE = 'give a list such as [{"role": "user", "content": "what is <region0>?"}]'


@dataclass(frozen=True, slots=True, eq=False)
class Chat:
    """What was said so far. Regions count on from picture to picture.

    Args:
        turns: oldest first; the last one waits for an answer.
        scenes: one per `Picture` of the turns, in their order.
        system: text of the system turn; None for no such turn.
        all_regions: whether the answer may be about any region; False: about those named.
        labels: what the answer will probably name, in this order; it is written faster then, not otherwise.
    """

    turns: tuple[Turn, ...]
    scenes: tuple[EncodedScene, ...]
    system: str | None = layout.SYSTEM_TEXT
    all_regions: bool = True
    labels: tuple[str, ...] = ()

    @property
    def num_regions(self) -> int:
        """How many regions all pictures have."""
        return sum(map(len, self.scenes))

    def named_regions(self) -> tuple[int, ...]:
        """Return the regions that people name; each of them has to be shown with every question."""
        told = [part for turn in self.turns if turn.role == "user" for part in turn.parts]
        texts = [self.system or "", *(part for part in told if isinstance(part, str))]
        return tuple(region for text in texts for region in tags.regions_in(text))

    def locate(self, region: int) -> tuple[int, int]:
        """Return the picture that a region lies in, and its number there."""
        firsts = [0, *accumulate(map(len, self.scenes))]
        picture = int(np.searchsorted(firsts, region, side="right")) - 1
        return picture, region - firsts[picture]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written next in one chat, under the chat's numbers.

    Args:
        parts: one answer per tile.
        complete: whether none of them was cut at the limit on new tokens.
        chances: the probability with which a region's token was first written, by phrase ("" for
            none) and region.
        prompt_tokens: how many were read, of all tiles.
        new_tokens: how many were written, of all tiles.
    """

    parts: tuple[Answer, ...]
    complete: bool = True
    chances: Mapping[tuple[str, int], float] = field(default_factory=dict)
    prompt_tokens: int = 0
    new_tokens: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for everything that the caller should know about how it was written."""
        notes: list[str] = []
        if not self.complete:
            notes.append("the answer was cut at the model's limit on new tokens")
        if len(self.parts) > 1:
            notes.append(
                "there are more regions than index tokens: "
                f"asked in {len(self.parts)} parts, answers joined"
            )
        return tuple(notes)

    @property
    def answer(self) -> Answer:
        """All parts as one answer, the notes among its problems."""
        joined = Answer.merge(self.parts)
        return replace(joined, problems=(*joined.problems, *self.notes))


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What the model said next in a chat.

    Args:
        answer: the text and the regions it names, which count on from picture to picture.
        detections: per picture of the chat the regions named in it, under that picture's numbers.
        complete: whether the answer was not cut at a limit on new tokens.
        prompt_tokens: how many were read, those of pictures and regions included.
        new_tokens: how many were written.
    """

    answer: Answer
    detections: tuple[Detections, ...] = ()
    complete: bool = True
    prompt_tokens: int = 0
    new_tokens: int = 0

    def __str__(self) -> str:
        return plain_text(self.answer.text)

    @property
    def message(self) -> dict[str, str]:
        """The reply as the next message of the chat."""
        return {"role": "assistant", "content": self.answer.text}


def question(
    scene: EncodedScene, text: str, *, all_regions: bool = True, labels: Sequence[str] = ()
) -> Chat:
    """Return the chat that asks one question about one scene; arguments as in `Chat`."""
    turn = Turn("user", (Picture(len(scene)), text))
    told = tuple(map(clean_name, labels))
    return Chat((turn,), (scene,), all_regions=all_regions, labels=told)


def write(
    chats: Sequence[Chat], engine: Engine, max_new_tokens: int | None = None
) -> list[Written]:
    """Return what the model writes next in each chat.

    Args:
        chats: what is written in them shares passes.
        engine: the model.
        max_new_tokens: the longest answer; the model's own limit holds as well.

    Raises:
        QueryError: a chat names more regions than the model has index tokens.
    """
    rows: list[Row] = []
    tiles: list[tuple[Tile, ...]] = []
    for chat in chats:
        own = split(chat.num_regions, engine.max_regions, chat.named_regions())
        tiles.append(own if chat.all_regions else own[:1])
        rows += [_row(chat, tile, engine.model.config.repeat_regions) for tile in tiles[-1]]
    texts = iter(engine.generate(rows, max_new_tokens))
    written: list[Written] = []
    for chat, own in zip(chats, tiles, strict=True):
        said = [(tile, next(texts)) for tile in own]
        parts = tuple(parse_answer(tile.to_chat(t.text), chat.num_regions) for tile, t in said)
        chances: dict[tuple[str, int], float] = {}
        for part, (_, text) in zip(parts, said, strict=True):
            # Under the grammar every index token is a mention of a region that exists.
            for cited, chance in zip(part.citations, text.chances, strict=False):
                if cited.part == "answer":
                    chances.setdefault((cited.phrase or "", cited.region), chance)
        written.append(
            Written(
                parts,
                complete=all(text.complete for _, text in said),
                chances=chances,
                prompt_tokens=sum(text.prompt_tokens for _, text in said),
                new_tokens=sum(text.new_tokens for _, text in said),
            )
        )
    return written


def _row(chat: Chat, tile: Tile, repeat_features: bool) -> Row:
    """Return the sequence that shows one tile of a chat."""
    shown = [chat.locate(region) for region in tile.regions]
    numbers = iter(range(len(chat.scenes)))

    def part_of(part: str | Picture) -> str | Picture:
        if isinstance(part, str):
            return tile.to_tile(part)
        number = next(numbers)
        return Picture(sum(picture == number for picture, _ in shown))

    turns = [Turn(turn.role, tuple(map(part_of, turn.parts))) for turn in chat.turns]
    system = None if chat.system is None else tile.to_tile(chat.system)
    prompt = layout.build_prompt(*turns, system=system, repeat_features=repeat_features)
    placed = tuple(shown[region] for region in tags.placed_regions(prompt))
    pictures = tuple(scene.tensors for scene in chat.scenes)
    return Row(prompt, pictures, placed, len(tile), chat.labels)


def read_messages(
    messages: Iterable[Mapping[str, Any]], encode: Callable[[Any, Any], EncodedScene]
) -> Chat:
    """Return the chat of messages in the form that chat templates take.

    Args:
        messages: each {"role": "system" | "user" | "assistant", "content": ...} with a text, or a
            list of {"type": "text", "text": ...} and {"type": "image", "image": ..., "boxes": ...}.
        encode: makes the scene of an image and its boxes (None for none).

    Raises:
        InputError: a message has another form, or the last one is not the user's.
        QueryError: a user's text is empty, or a text names a region that does not exist.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise InputError(f"messages are a {type(messages).__name__}; {_CURE}")
    turns: list[Turn] = []
    scenes: list[EncodedScene] = []
    system: str | None = layout.SYSTEM_TEXT
    for number, message in enumerate(messages):
        role, parts = _parts(message, number)
        if role == "system":
            if number or any(kind != "text" for kind, _, _ in parts):
                raise InputError(f"message {number}: the system speaks first and in text; move it")
            system = "".join(text for _, text, _ in parts) or None
            continue
        own = [encode(value, boxes) for kind, value, boxes in parts if kind == "image"]
        scenes += own
        known = sum(map(len, scenes))
        pictures = iter(own)
        content = tuple(
            Picture(len(next(pictures))) if kind == "image" else _said(role, value, known)
            for kind, value, _ in parts
        )
        turns.append(Turn(cast(Role, role), content))
    if not turns or turns[-1].role != "user":
        raise InputError("the last message is not the user's, so nothing is asked; add a question")
    if not any(isinstance(part, str) and part.strip() for part in turns[-1].parts):
        raise QueryError("the last message holds no text; add a question")
    if system is not None:
        system = _said("system", system, sum(map(len, scenes)))
    return Chat(tuple(turns), tuple(scenes), system)


def _parts(message: object, number: int) -> tuple[str, list[tuple[str, Any, Any]]]:
    """Return the role and (kind, value, boxes) of each part."""
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise InputError(f"message {number} has no role and content; {_CURE}")
    fields = cast("Mapping[str, Any]", message)
    role, content = fields["role"], fields["content"]
    if role not in ("system", "user", "assistant"):
        raise InputError(f"message {number} is by {role!r}; give system, user or assistant")
    if isinstance(content, str):
        return role, [("text", content, None)]
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InputError(f"message {number}: content is a {type(content).__name__}; {_CURE}")
    parts: list[tuple[str, Any, Any]] = []
    for part in cast("Sequence[Any]", content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(("text", part["text"], None))
        elif kind == "image" and part.get("image") is not None and role == "user":
            parts.append(("image", part["image"], part.get("boxes")))
        else:
            raise InputError(
                f'message {number} holds a part that cannot be read; give {{"type": "text", "text": '
                '...} or, for the user, {"type": "image", "image": ..., "boxes": [...]}'
            )
    return role, parts


def _said(role: str, text: str, num_regions: int) -> str:
    """Return a text that names existing regions only; a person's other markup is made harmless."""
    tags.check_regions(tags.regions_in(text), num_regions)
    return text if role == "assistant" else tags.neutralise(text, keep_regions=True)
