"""Chats: pictures with regions and what was said about them, and what the model writes next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, cast

import numpy as np

from fo1 import prompts
from fo1.errors import InputError, QueryError
from fo1.parsing import parse_answer, plain_text
from fo1.pipeline.engine import Engine, Row
from fo1.pipeline.request import EncodedScene
from fo1.pipeline.tiles import Tile, split
from fo1.prompts import Picture, Role, Turn
from fo1.results import Answer, Detections

_CURE = 'give a list such as [{"role": "user", "content": "what is <region0>?"}]'


@dataclass(frozen=True, slots=True, eq=False)
class Chat:
    """What was said so far. Regions count on from picture to picture.

    Args:
        turns: oldest first; the last one waits for an answer.
        scenes: one per `Picture` of the turns, in their order.
        system: text of the system turn; None for no such turn.
        all_regions: whether the answer may be about any region; False: about those named.
    """

    turns: tuple[Turn, ...]
    scenes: tuple[EncodedScene, ...]
    system: str | None = prompts.SYSTEM_TEXT
    all_regions: bool = True

    @property
    def num_regions(self) -> int:
        """How many regions all pictures have."""
        return sum(map(len, self.scenes))

    def locate(self, region: int) -> tuple[int, int]:
        """Return the picture that a region lies in, and its number there."""
        firsts = [0, *accumulate(map(len, self.scenes))]
        picture = int(np.searchsorted(firsts, region, side="right")) - 1
        return picture, region - firsts[picture]


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What the model said next in a chat.

    Args:
        answer: the text and the regions it names, which count on from picture to picture.
        detections: per picture of the chat the regions named in it, under that picture's numbers.
    """

    answer: Answer
    detections: tuple[Detections, ...] = ()

    def __str__(self) -> str:
        return plain_text(self.answer.text)

    @property
    def message(self) -> dict[str, str]:
        """The reply as the next message of the chat."""
        return {"role": "assistant", "content": self.answer.text}


def question(scene: EncodedScene, text: str, *, all_regions: bool = True) -> Chat:
    """Return the chat that asks one question about one scene."""
    turn = Turn("user", (Picture(len(scene)), text))
    return Chat((turn,), (scene,), all_regions=all_regions)


def write(chats: Sequence[Chat], engine: Engine) -> list[tuple[Answer, ...]]:
    """Return what the model writes next in each chat: one answer per tile.

    Raises:
        QueryError: a chat names more regions than the model has index tokens.
    """
    rows: list[Row] = []
    tiles: list[tuple[Tile, ...]] = []
    for chat in chats:
        said = [part for turn in chat.turns for part in turn.parts if isinstance(part, str)]
        wanted = [region for text in said for region in prompts.regions_in(text)]
        own = split(chat.num_regions, engine.max_regions, wanted)
        tiles.append(own if chat.all_regions else own[:1])
        rows += [_row(chat, tile, engine.model.config.repeat_regions) for tile in tiles[-1]]
    texts = iter(engine.generate(rows))
    answers: list[tuple[Answer, ...]] = []
    for chat, own in zip(chats, tiles, strict=True):
        written: list[Answer] = []
        for tile in own:
            text = next(texts)
            answer = parse_answer(tile.to_chat(text.text), chat.num_regions)
            if not text.complete:
                cut = "the answer was cut at the model's limit on new tokens"
                answer = replace(answer, problems=(*answer.problems, cut))
            written.append(answer)
        answers.append(tuple(written))
    return answers


def join(answers: Sequence[Answer]) -> Answer:
    """Return the answers of all tiles as one; several are told in `problems`."""
    joined = Answer.merge(answers)
    if len(answers) == 1:
        return joined
    told = (
        f"there are more regions than index tokens: asked in {len(answers)} parts, answers joined"
    )
    return replace(joined, problems=(*joined.problems, told))


def _row(chat: Chat, tile: Tile, repeat_features: bool) -> Row:
    """Return the sequence that shows one tile of a chat."""
    shown = [chat.locate(region) for region in tile.regions]
    pictures = iter(range(len(chat.scenes)))

    def part_of(part: str | Picture) -> str | Picture:
        if isinstance(part, str):
            return tile.to_tile(part)
        number = next(pictures)
        return Picture(sum(picture == number for picture, _ in shown))

    turns = [Turn(turn.role, tuple(map(part_of, turn.parts))) for turn in chat.turns]
    prompt = prompts.build_prompt(*turns, system=chat.system, repeat_features=repeat_features)
    placed = tuple(shown[region] for region in prompts.placed_regions(prompt))
    return Row(prompt, tuple(scene.tensors for scene in chat.scenes), placed, len(tile))


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
    if isinstance(messages, str | Mapping):
        raise InputError(f"messages are a {type(messages).__name__}; {_CURE}")
    turns: list[Turn] = []
    scenes: list[EncodedScene] = []
    system: str | None = prompts.SYSTEM_TEXT
    for number, message in enumerate(messages):
        role, parts = _parts(message, number)
        if role == "system":
            if number or any(kind != "text" for kind, _, _ in parts):
                raise InputError(f"message {number}: the system speaks first and in text; move it")
            system = " ".join(str(text) for _, text, _ in parts) or None
            continue
        scenes += [encode(value, boxes) for kind, value, boxes in parts if kind == "image"]
        known = sum(map(len, scenes))
        images = iter(scenes[len(scenes) - sum(kind == "image" for kind, _, _ in parts) :])
        content = tuple(
            Picture(len(next(images))) if kind == "image" else _said(role, value, known)
            for kind, value, _ in parts
        )
        turns.append(Turn(cast(Role, role), content))
    if not turns or turns[-1].role != "user":
        raise InputError("the last message is not the user's, so nothing is asked; add a question")
    if not any(isinstance(part, str) for part in turns[-1].parts):
        raise QueryError("the last message holds no text; add a question")
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
    """Return a text that names existing regions only; a user's other markup is made harmless."""
    if role == "user":
        return prompts.ask(text, num_regions=num_regions)
    prompts.check_regions(prompts.regions_in(text), num_regions)
    return text
