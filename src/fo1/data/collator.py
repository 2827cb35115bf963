"""Samples become one batch: scenes end to end in rows, the answers and the score head's targets marked.

A scene is a prefix (pictures and regions) and branches behind it: one per query, then one per dialogue. One pass over
a picture pays for all that is asked of it. How scenes are laid in rows (packed or apart, padded left or right) changes
no loss and no gradient, see `models.packing`.

Legend: B rows, T tokens, S scenes, N_i regions and K_i queries of scene i.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fo1.data.sample import UNKNOWN, Dialogue, Sample
from fo1.errors import InputError
from fo1.geometry import scale_boxes
from fo1.layout import (
    TURN_START,
    answer_turn,
    query_branch,
    question_branch,
    scene_prefix,
)
from fo1.lexicon import Lexicon, Source
from fo1.models.packing import Packed
from fo1.models.processing import FO1Processor
from fo1.tags import GROUND_CLOSE, GROUND_OPEN, OBJECTS_OPEN, regions_in

IGNORED = -100
"""Label of a token that is not learned."""

QueryClasses: TypeAlias = tuple[tuple[tuple[int, ...], ...], ...]
"""Per evidence source and query the classes that the query names."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one forward and backward pass needs.

    Attributes:
        packed: the tokens.
        labels: (B, T) the token itself where it is to be learned, else `IGNORED`; never the first of a branch.
        words: (B, T) bool, the tokens that spell out a query, without markup.
        tasks: (B, T) index into `task_names` of what a label teaches; -1 without a label.
        task_names: of `tasks` and `query_tasks`.
        region_index: (M,) region over all scenes of each placeholder, row by row.
        targets: per scene (N_i, K_i) 1 meant, 0 not, `UNKNOWN`; its first K_i branches are the queries.
        query_tasks: per scene, per query an index into `task_names`.
        query_classes: per scene what its queries name among the classes of the auxiliary encoder; empty without.
        pictures: the host's and the auxiliary encoder's inputs, in the order of the scenes; empty for text alone.
        picture_order: pictures in the order in which the rows speak of them.
        features: per picture (N, C) auxiliary features pooled before; None where they are to be computed.
        names: per scene, per region the names that are true of it.
    """

    packed: Packed
    labels: Tensor
    words: Tensor
    tasks: Tensor
    task_names: tuple[str, ...]
    region_index: Tensor
    targets: tuple[Tensor, ...]
    query_tasks: tuple[tuple[int, ...], ...]
    query_classes: tuple[QueryClasses, ...]
    pictures: Mapping[str, Any]
    picture_order: tuple[int, ...]
    features: tuple[Tensor, ...] | None
    names: tuple[tuple[tuple[str, ...], ...], ...]

    def to(self, device: torch.device | str, **_: Any) -> Self:
        """Return the same on another device."""
        moved = {
            field.name: _move(getattr(self, field.name), device)
            for field in dataclasses.fields(self)
        }
        return dataclasses.replace(self, **moved)

    @property
    def num_labels(self) -> int:
        """Tokens that are learned."""
        return int((self.labels != IGNORED).sum())

    @property
    def num_queries(self) -> int:
        """Queries of which at least one region is known to be meant or not."""
        return sum(int((known != UNKNOWN).any(0).sum()) for known in self.targets)


@dataclass(frozen=True, slots=True)
class _Scene:
    """One sample as tokens: per token its id, branch, label, whether it is a query's word, and its task."""

    ids: list[int]
    branch: list[int]
    labels: list[int]
    words: list[bool]
    tasks: list[int]
    index: list[int]


class Collator:
    """Turns samples into a batch.

    Args:
        processor: tokenizer and image processors.
        repeat_regions: follow a region named in a question by its embedding once more.
        lexicon: which classes a query names; None for models without evidence.
        sources: evidence sources of the model's score head.
        pack_to: rows are filled with scenes up to this many tokens; None gives every scene a row.
        padding: on which side rows are filled up.
    """

    def __init__(
        self,
        processor: FO1Processor,
        *,
        repeat_regions: bool = False,
        lexicon: Lexicon | None = None,
        sources: Sequence[Source] = (),
        pack_to: int | None = None,
        padding: Literal["left", "right"] = "right",
    ):
        self.processor = processor
        self.repeat_regions = repeat_regions
        self.lexicon = lexicon
        self.sources = tuple(sources)
        self.pack_to = pack_to
        self.padding = padding
        tokenizer = processor.tokenizer
        markup = [GROUND_OPEN, GROUND_CLOSE, OBJECTS_OPEN]
        self._markup = frozenset(tokenizer.convert_tokens_to_ids(markup))

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return the batch of some samples, with pictures or without.

        Raises:
            InputError: a sample names a region that it does not have.
        """
        task_names = tuple(sorted({task for sample in samples for task in _tasks(sample)}))
        pictures = self._pictures(samples)
        texts = iter(self.processor.picture_texts(pictures))
        scenes = [
            self._scene(sample, [next(texts) for _ in sample.images], task_names)
            for sample in samples
        ]
        rows = self._rows([len(scene.ids) for scene in scenes])
        packed, labels, words, tasks = self._lay(scenes, rows)
        first = np.cumsum([0, *(sample.num_regions for sample in samples)])
        order = [place for row in rows for place in row]
        index = [int(first[place]) + region for place in order for region in scenes[place].index]
        places = {name: place for place, name in enumerate(task_names)}
        has_features = [sample.features is not None for sample in samples if sample.num_regions]
        if any(has_features) and not all(has_features):
            raise InputError("some samples hold pooled features and some do not; give all or none")
        return Batch(
            packed=packed,
            labels=labels,
            words=words,
            tasks=tasks,
            task_names=task_names,
            region_index=torch.tensor(index, dtype=torch.long),
            targets=tuple(_stack(sample) for sample in samples),
            query_tasks=tuple(tuple(places[q.task] for q in s.queries) for s in samples),
            query_classes=tuple(self._classes(sample) for sample in samples),
            pictures=pictures,
            picture_order=tuple(_pictures_in(samples, order)),
            features=_features(samples) if any(has_features) else None,
            names=tuple(sample.names for sample in samples),
        )

    def _rows(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return which samples share a row: best fit, longest first; one each without packing."""
        if self.pack_to is None:
            return [[place] for place in range(len(lengths))]
        rows: list[list[int]] = []
        room: list[int] = []
        for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
            fitting = [r for r, left in enumerate(room) if left >= lengths[place]]
            if fitting:
                row = min(fitting, key=lambda r: (room[r], r))
            else:
                row = len(rows)
                rows.append([])
                room.append(max(self.pack_to, lengths[place]))
            rows[row].append(place)
            room[row] -= lengths[place]
        return rows

    def _pictures(self, samples: Sequence[Sample]) -> dict[str, Any]:
        images = [image for sample in samples for image in sample.images]
        if not images:
            return {}
        boxes = [boxes for sample in samples for boxes in sample.boxes]
        if any(sample.features is not None for sample in samples):
            # The auxiliary encoder is not asked, so the host's picture may be small.
            host = self.processor.host_pictures(images)
            frames = self.processor.host_frames(host)
            host["host_boxes"] = [
                torch.from_numpy(
                    scale_boxes(own, (image.height, image.width), (frame[1], frame[0]))
                )
                for own, image, frame in zip(boxes, images, frames, strict=True)
            ]
            return host
        return self.processor.prepare_pictures(images, boxes)

    def _scene(
        self, sample: Sample, picture_texts: Sequence[str], task_names: Sequence[str]
    ) -> _Scene:
        tokens = self.processor.token_ids
        ids = tokens(scene_prefix(*map(len, sample.boxes)), picture_texts)
        scene = _Scene(
            ids,
            [-1] * len(ids),
            [IGNORED] * len(ids),
            [False] * len(ids),
            [-1] * len(ids),
            list(range(sample.num_regions)),
        )
        for query in sample.queries:
            branch = tokens(query_branch(query.text))
            words = [token not in self._markup for token in branch]
            self._append(scene, branch, [IGNORED] * len(branch), words, -1)
        for dialogue in sample.dialogues:
            branch, labels = self._dialogue(dialogue, scene.index, sample)
            task = task_names.index(dialogue.task)
            self._append(scene, branch, labels, [False] * len(branch), task)
        return scene

    def _append(
        self, scene: _Scene, ids: list[int], labels: list[int], words: list[bool], task: int
    ) -> None:
        number = scene.branch[-1] + 1
        scene.ids.extend(ids)
        scene.branch.extend([number] * len(ids))
        scene.labels.extend(labels)
        scene.words.extend(words)
        scene.tasks.extend(-1 if label == IGNORED else task for label in labels)

    def _dialogue(
        self, dialogue: Dialogue, index: list[int], sample: Sample
    ) -> tuple[list[int], list[int]]:
        """Return the tokens of a dialogue and which are learned: those of the answers, and what ends them."""
        ids: list[int] = []
        labels: list[int] = []
        for number, (question, answer) in enumerate(dialogue.turns):
            named = regions_in(f"{question} {answer}")
            if any(region >= sample.num_regions for region in named):
                raise InputError(
                    f"sample {sample.key!r} names region {max(named)}, but has {sample.num_regions}"
                )
            if self.repeat_regions:
                index += regions_in(question)
            head = question_branch(question, repeat_features=self.repeat_regions)
            opening = self.processor.token_ids(head if number == 0 else f"{_NEXT_TURN}{head}")
            told = self.processor.token_ids(answer_turn(answer))
            ids += opening + told
            labels += [IGNORED] * len(opening) + told
        return ids, labels

    def _lay(
        self, scenes: Sequence[_Scene], rows: Sequence[Sequence[int]]
    ) -> tuple[Packed, Tensor, Tensor, Tensor]:
        """Return the scenes in rows."""
        lengths = [sum(len(scenes[place].ids) for place in row) for row in rows]
        total = max(lengths, default=0)
        shape = (len(rows), total)
        ids = torch.full(shape, self.processor.tokenizer.pad_token_id)
        scene, branch, tasks = (torch.full(shape, -1) for _ in range(3))
        labels = torch.full(shape, IGNORED)
        words = torch.zeros(shape, dtype=torch.bool)
        for place, row in enumerate(rows):
            start = total - lengths[place] if self.padding == "left" else 0
            for number in row:
                one = scenes[number]
                span = slice(start, start + len(one.ids))
                ids[place, span] = torch.tensor(one.ids)
                scene[place, span] = number
                branch[place, span] = torch.tensor(one.branch)
                labels[place, span] = torch.tensor(one.labels)
                words[place, span] = torch.tensor(one.words)
                tasks[place, span] = torch.tensor(one.tasks)
                start = span.stop
        return Packed(ids, scene, branch), labels, words, tasks

    def _classes(self, sample: Sample) -> QueryClasses:
        if self.lexicon is None:
            return ()
        lexicon = self.lexicon
        return tuple(
            tuple(tuple(lexicon.classes(query.text, source)) for query in sample.queries)
            for source in self.sources
        )


_NEXT_TURN = f"\n{TURN_START}user\n"
"""Between an answer, which ends with the token that ends a turn, and the next question."""


def _tasks(sample: Sample) -> list[str]:
    return [one.task for one in (*sample.queries, *sample.dialogues)]


def _stack(sample: Sample) -> Tensor:
    """Return (N, K) targets."""
    if not sample.queries:
        return torch.zeros(sample.num_regions, 0)
    return torch.from_numpy(np.stack([query.targets for query in sample.queries], axis=1))


def _pictures_in(samples: Sequence[Sample], order: Sequence[int]) -> list[int]:
    """Return the numbers of the pictures, counted sample by sample, in another order of the samples."""
    first = np.cumsum([0, *(len(sample.images) for sample in samples)]).tolist()
    return [number for place in order for number in range(first[place], first[place + 1])]


def _features(samples: Sequence[Sample]) -> tuple[Tensor, ...]:
    """Return cached features per picture."""
    found: list[Tensor] = []
    for sample in samples:
        if sample.features is not None:
            found += sample.features.split([len(boxes) for boxes in sample.boxes])
    return tuple(found)


def _move(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor | Packed):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _move(one, device) for name, one in value.items()}
    if isinstance(value, tuple | list) and value and isinstance(value[0], Tensor):
        return type(value)(_move(one, device) for one in value)
    return value
