"""Boxes from any detector of transformers, by folder or hub id: no compiled operator, no torchvision.

Detectors with a fixed list of classes (DETR and its heirs: RT-DETR, D-FINE, RF-DETR, ...) find what
they were trained on; those that are prompted with text (`fo1.proposals.text_prompts`) look for what
they are told.

Legend: Q boxes that a detector gives, K names.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_OBJECT_DETECTION_MAPPING,
    MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING,
)

from fo1.errors import CheckpointError, FO1Error, QueryError, short_name
from fo1.models.bars import without_bars
from fo1.prompts import as_queries, clean_name
from fo1.proposals.base import DEFAULT_LIMIT, check_limit, rank_and_dedupe
from fo1.proposals.detector_pixels import Pixels, load_pixels
from fo1.proposals.text_prompts import PROMPTS, TextPrompt
from fo1.results import Proposals

ANYTHING = ("object",)
"""What a detector that is prompted with text looks for until it is told."""

_NEEDS = re.compile(r"(?:requires the |No module named ')([\w.-]+)")


class TransformersProposer(ABC):
    """A detector of transformers as a source of boxes.

    A box's score is the probability of its best class or name, which becomes its label.

    Args:
        model: the detector; put into evaluation mode.
        pixels: from a picture to what the model takes of it.
        name: what the proposer is called.
        limit: the most boxes per picture.

    Raises:
        InputError: the limit is below 1.
    """

    def __init__(
        self, model: PreTrainedModel, pixels: Pixels, name: str, limit: int = DEFAULT_LIMIT
    ) -> None:
        self.model = model.eval()
        self.pixels = pixels
        self.name = name
        self.limit = check_limit(limit)

    @abstractmethod
    def _labels(self) -> Sequence[str]:
        """Return the names of the K classes."""

    @abstractmethod
    def _find(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return boxes (Q, 4), cxcywh in shares, and probabilities (Q, K)."""

    @property
    def _square(self) -> bool:
        """Whether boxes are shares of the square that holds the picture, not of the picture."""
        return False

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes, best first; the whole picture if nothing was found."""
        taken = inspect.signature(self.model.forward).parameters
        inputs = {
            key: value for key, value in self.pixels(image.convert("RGB")).items() if key in taken
        }
        with torch.inference_mode():
            shares, chances = self._find(inputs)
        longest = max(image.size)
        sizes = (longest, longest) if self._square else image.size
        best, classes = chances.float().max(1)
        centre, sides = shares.float().cpu().numpy().reshape(-1, 2, 2).swapaxes(0, 1)
        corners = np.concatenate([centre - sides / 2, centre + sides / 2], 1)
        labels = self._labels()
        return rank_and_dedupe(
            (corners * np.array(sizes * 2)).astype(np.float32),
            best.cpu().numpy(),
            (image.height, image.width),
            self.name,
            limit=self.limit,
            labels=[labels[int(number)] for number in classes],
        )

    def _run(self, inputs: dict[str, Any]) -> Any:
        """Return what the model makes of its inputs, brought to its device and type."""
        device, dtype = self.model.device, self.model.dtype
        return self.model(
            **{
                key: value.to(device, dtype if value.is_floating_point() else None)
                for key, value in inputs.items()
            }
        )


class ClassProposer(TransformersProposer):
    """A detector with a fixed list of classes, which only name its boxes."""

    def _labels(self) -> Sequence[str]:
        names: dict[int, str] = self.model.config.id2label or {}  # pyright: ignore[reportAssignmentType]
        return [str(names.get(number, number)) for number in range(len(names))]

    def _find(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        outputs = self._run(inputs)
        logits = outputs.logits[0].float()
        # One output more than classes is "nothing", which only means something beside the others.
        if logits.shape[1] > self.model.config.num_labels:
            chances = logits.softmax(1)[:, :-1]
        else:
            chances = logits.sigmoid()
        return outputs.pred_boxes[0], chances


class PromptedProposer(TransformersProposer):
    """A detector that is prompted with text.

    Args:
        model: as in `TransformersProposer`.
        pixels: as there.
        name: as there.
        limit: as there.
        prompt: how the model takes names.
        names: what it looks for.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        pixels: Pixels,
        name: str,
        limit: int = DEFAULT_LIMIT,
        *,
        prompt: TextPrompt,
        names: Sequence[str] = ANYTHING,
    ) -> None:
        super().__init__(model, pixels, name, limit)
        self.prompt = prompt
        self.names = tuple(dict.fromkeys(clean_name(one) for one in as_queries(names)))
        if not self.names:
            raise QueryError("got no names to look for; give at least one, for example 'cat'")

    def prompted(self, names: Sequence[str]) -> Self:
        """Return the same detector, looking for these names.

        Raises:
            QueryError: no names, or an empty one.
        """
        return type(self)(
            self.model, self.pixels, self.name, self.limit, prompt=self.prompt, names=names
        )

    def _labels(self) -> Sequence[str]:
        return self.names

    @property
    def _square(self) -> bool:
        return self.prompt.square

    def _find(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        outputs = self._run({**inputs, **self.prompt.inputs(self.names)})
        return self.prompt.read(outputs, self.names)


def load_detector(
    name_or_path: str | Path,
    limit: int = DEFAULT_LIMIT,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> ClassProposer | PromptedProposer:
    """Return a detector of transformers as a proposer.

    Args:
        name_or_path: a folder with a detector and its processor, or a hub id such as "owner/name".
        limit: the most boxes per picture.
        device: where it runs; the CPU if not given.
        dtype: of its weights.

    Raises:
        CheckpointError: there is no such detector, its files are incomplete, or a package that it
            needs is not installed.
        InputError: the limit is below 1.
    """
    place, shown = str(name_or_path), short_name(str(name_or_path))
    check_limit(limit)
    try:
        with without_bars():
            config = AutoConfig.from_pretrained(place)
            prompt = PROMPTS.get(config.model_type)
            if prompt is not None and type(config) in MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING:
                kind: Any = AutoModelForZeroShotObjectDetection
            elif type(config) in MODEL_FOR_OBJECT_DETECTION_MAPPING:
                kind = AutoModelForObjectDetection
            else:
                raise CheckpointError(
                    f"{shown} holds a model of model_type '{config.model_type}', which is no "
                    "detector that fo1 knows; give one that transformers loads for object detection"
                )
            model = kind.from_pretrained(place, dtype=dtype)
            pixels = load_pixels(place)
            tokenizer = AutoTokenizer.from_pretrained(place) if prompt is not None else None
    except FO1Error:
        raise
    except ImportError as error:
        needed = _NEEDS.search(str(error))
        package = needed[1] if needed else "another package"
        cure = f"run: pip install {package}" if needed else "start python with it to see which"
        raise CheckpointError(
            f"detector {shown} needs {package}, which is not installed; {cure}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = short_name(" ".join(str(error).split()), 160)
        raise CheckpointError(
            f"cannot load the detector {shown} ({reason}); give a folder with its config.json, "
            "weights and preprocessor_config.json, or a hub id within reach"
        ) from error
    model = model.to(device or "cpu")
    if prompt is None:
        return ClassProposer(model, pixels, place, limit)
    return PromptedProposer(model, pixels, place, limit, prompt=prompt(tokenizer, config))
