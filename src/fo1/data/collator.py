"""Samples become one batch: a shared prefix per scene and branches behind it.

A scene's prefix is picture and regions; every query and every question-answer turn is a branch that sees the prefix
and itself only, so one pass over the picture pays for all of them.

Legend: B scenes, P prefix tokens, T branch tokens, N_i regions and K_i queries of scene i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fo1.geometry import scale_boxes
from fo1.layout import TURN_END, query_branch, question_branch, scene_prefix
from fo1.models.processing import FO1Processor, pad_left
from fo1.models.scoring import Branches
from fo1.tags import regions_in


@dataclass(frozen=True, slots=True)
class Query:
    """A name or expression and the regions it means.

    Attributes:
        text: without markup.
        targets: (N,) float32: 1 meant, 0 not meant, -1 unsure (no loss).
    """

    text: str
    targets: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """One scene to train on.

    Attributes:
        image: RGB, as small as the host needs it; None for text alone.
        size: (width, height) of the original picture, the frame of `boxes`.
        boxes: (N, 4) float32 xyxy pixels of the original picture.
        features: (N, C) what the auxiliary encoder pooled, or (N, D) embeddings.
        queries: for the score head.
        turns: (question, answer) pairs; `<regionN>` names a region.
        names: per region every name that is true of it, its own first; empty for a region that shows no thing.
    """

    image: Image.Image | None
    size: tuple[int, int]
    boxes: npt.NDArray[np.float32]
    features: Tensor
    queries: tuple[Query, ...]
    turns: tuple[tuple[str, str], ...]
    names: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step needs.

    Attributes:
        prefix_ids: (B, P) left-padded.
        prefix_mask: (B, P).
        branches: queries first, then turns, per scene.
        region_index: (M,) region over all scenes of each placeholder, row by row, prefix first.
        labels: (B, T) token to predict at each branch position, -100 for none.
        features: per scene (N_i, C).
        host_boxes: per scene (N_i, 4), pixels of the host's frame.
        targets: per scene (N_i, K_i).
        images: the host's own picture inputs; empty for text alone.
    """

    prefix_ids: Tensor
    prefix_mask: Tensor
    branches: Branches
    region_index: Tensor
    labels: Tensor
    features: list[Tensor]
    host_boxes: list[Tensor]
    targets: list[Tensor]
    images: dict[str, Any]


class Collator:
    """Turns samples into a batch.

    Args:
        processor: tokenizer and the host's image processor.
        repeat_regions: follow a region named in a question by its embedding once more.
    """

    def __init__(self, processor: FO1Processor, *, repeat_regions: bool = False):
        self.processor = processor
        self.repeat_regions = repeat_regions
        tokenizer = processor.tokenizer
        self.markup = tokenizer.convert_tokens_to_ids(["<ground>", "</ground>", "<objects>"])

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return the batch of samples, all with pictures or all without."""
        images = [sample.image for sample in samples]
        pictures: dict[str, Any] = {}
        if all(image is not None for image in images):
            pictures = dict(self.processor.image_processor(images, return_tensors="pt"))
        counts = self.processor.image_token_counts(pictures) or [0] * len(samples)
        prefixes = [
            self.processor.token_ids(
                scene_prefix(len(sample.boxes), picture=bool(pictures)),
                [count] if pictures else [],
            )
            for sample, count in zip(samples, counts, strict=True)
        ]
        padding = self.processor.tokenizer.pad_token_id
        prefix_ids, prefix_mask = pad_left(prefixes, padding)

        rows, labels, index, first = [], [], [], 0
        for sample in samples:
            branches = [
                self.processor.token_ids(query_branch(query.text)) for query in sample.queries
            ]
            row_labels = [[-100] * len(branch) for branch in branches]
            index += range(first, first + len(sample.boxes))
            for question, answer in sample.turns:
                if self.repeat_regions:
                    index += [first + region for region in regions_in(question)]
                head = question_branch(question, repeat_features=self.repeat_regions)
                head_ids, tail_ids = (
                    self.processor.token_ids(head),
                    self.processor.token_ids(answer + TURN_END),
                )
                branches.append(head_ids + tail_ids)
                # Position i predicts token i + 1, so labels stand one place to the left.
                row_labels.append([-100] * (len(head_ids) - 1) + tail_ids + [-100])
            rows.append(branches)
            labels.append([token for branch in row_labels for token in branch])
            first += len(sample.boxes)
        packed = Branches.pack(rows, self.markup, padding)
        label_ids = torch.full(packed.ids.shape, -100)
        for row, flat in enumerate(labels):
            label_ids[row, : len(flat)] = torch.tensor(flat, dtype=torch.long)
        return Batch(
            prefix_ids=prefix_ids,
            prefix_mask=prefix_mask,
            branches=packed,
            region_index=torch.tensor(index, dtype=torch.long),
            labels=label_ids,
            features=[sample.features for sample in samples],
            host_boxes=self._host_boxes(samples, pictures),
            targets=[_stack(sample) for sample in samples],
            images=pictures,
        )

    def _host_boxes(self, samples: Sequence[Sample], pictures: dict[str, Any]) -> list[Tensor]:
        frames = (
            self.processor.host_frames(pictures)
            if pictures
            else [sample.size for sample in samples]
        )
        boxes = []
        for sample, frame in zip(samples, frames, strict=True):
            (width, height), (frame_width, frame_height) = sample.size, frame
            scaled = scale_boxes(sample.boxes, (height, width), (frame_height, frame_width))
            boxes.append(torch.from_numpy(scaled))
        return boxes


def _stack(sample: Sample) -> Tensor:
    if not sample.queries:
        return torch.zeros(len(sample.boxes), 0)
    return torch.from_numpy(np.stack([query.targets for query in sample.queries], axis=1))
