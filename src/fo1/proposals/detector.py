"""Boxes from small trained detectors whose class names are ignored.

A box's score is the probability of its best class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from typing import Generic, TypeVar

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fo1.errors import CheckpointError
from fo1.models import nanodet, ssd
from fo1.models.frames import Placement, letterbox, stretch
from fo1.proposals.base import DEFAULT_LIMIT, check_limit, rank_and_dedupe
from fo1.results import Proposals

Model = TypeVar("Model", bound=nn.Module)

MODEL_FILE = "model.safetensors"
DETECTOR_PREFIX = "region_encoder.auxiliary.detector."
"""Where a model that sees with NanoDet keeps it, so that nobody stores its numbers twice."""


class DetectorProposer(ABC, Generic[Model]):
    """A detector as a source of boxes.

    Args:
        model: the detector with its weights; put into evaluation mode.
        limit: the most boxes per picture.

    Raises:
        InputError: the limit is below 1.
    """

    name: str

    def __init__(self, model: Model, limit: int = DEFAULT_LIMIT) -> None:
        self.model = model.eval()
        self.limit = check_limit(limit)

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes, best first; the whole picture if nothing was found."""
        pixels, placement = self._place(image)
        own = next(self.model.parameters(), pixels)
        with torch.inference_mode():
            boxes, probabilities = self._detect(pixels.to(own.device, own.dtype))
        return rank_and_dedupe(
            placement.to_picture(boxes[0].float().cpu().numpy()),
            probabilities[0].amax(-1).float().cpu().numpy(),
            (image.height, image.width),
            self.name,
            limit=self.limit,
        )

    @abstractmethod
    def _place(self, image: Image.Image) -> tuple[Tensor, Placement]:
        """Return normalised pixels (1, 3, S, S) and where the picture lies in them."""

    @abstractmethod
    def _detect(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (1, M, 4) in pixels of the frame and probabilities (1, M, classes)."""


class NanoDetProposer(DetectorProposer[nanodet.NanoDet]):
    """NanoDet-g. The picture keeps its aspect ratio, as it did when the weights were trained."""

    name = "nanodet"

    @classmethod
    def load(
        cls, weights: Traversable | None = None, limit: int = DEFAULT_LIMIT
    ) -> NanoDetProposer:
        """Return the proposer with the weights ``nanodet.safetensors`` of a folder.

        Without that file they are read from the folder's model, which sees with the same detector.

        Raises:
            CheckpointError: the file is missing, damaged or of another model.
        """
        model = read_weights(nanodet.NanoDet(), weights, cls.name, inside=DETECTOR_PREFIX)
        return cls(model, limit)

    def _place(self, image: Image.Image) -> tuple[Tensor, Placement]:
        return letterbox(image, nanodet.FRAME, nanodet.PIXEL_MEAN, nanodet.PIXEL_STD)

    def _detect(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return nanodet.decode(self.model(pixels))


class SSDProposer(DetectorProposer[ssd.SSDMobileNetV2]):
    """SSD-MobileNetV2. The picture is stretched, as it was when the weights were trained."""

    name = "ssd"

    @classmethod
    def load(cls, weights: Traversable | None = None, limit: int = DEFAULT_LIMIT) -> SSDProposer:
        """Return the proposer with the weights ``ssd.safetensors`` of a folder.

        Raises:
            CheckpointError: the file is missing, damaged or of another model.
        """
        return cls(read_weights(ssd.SSDMobileNetV2(), weights, cls.name), limit)

    def _place(self, image: Image.Image) -> tuple[Tensor, Placement]:
        return stretch(image, ssd.FRAME, ssd.PIXEL_MEAN, ssd.PIXEL_STD)

    def _detect(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(pixels)


def read_weights(
    model: Model, folder: Traversable | None, name: str, *, inside: str | None = None
) -> Model:
    """Return the model with the numbers of ``<name>.safetensors``, as float32.

    Args:
        model: takes the numbers.
        folder: where the file lies; the package's own weights if not given.
        name: the file's name without its ending.
        inside: names in ``model.safetensors`` start with this where there is no file of that name.

    Raises:
        CheckpointError: the file is missing, damaged or of another model.
    """
    place = files("fo1").joinpath("assets", "nano") if folder is None else folder
    file, prefix = place.joinpath(f"{name}.safetensors"), ""
    whole = place.joinpath(MODEL_FILE)
    if inside is not None and not file.is_file() and whole.is_file():
        file, prefix = whole, inside
    cure = "recipes/nano/convert_detectors.py writes it"
    try:
        model.load_state_dict(_read_tensors(file, prefix))
    except OSError as error:
        reason = error.strerror or "No such file or directory"
        raise CheckpointError(f"cannot read {file} ({reason}); {cure}") from error
    except (SafetensorError, RuntimeError) as error:
        problem = "is damaged" if isinstance(error, SafetensorError) else "is of another model"
        raise CheckpointError(f"{file} {problem}; {cure}") from error
    return model


def _read_tensors(file: Traversable, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with the prefix, under the rest of their names."""
    with as_file(file) as path, safe_open(path, framework="pt") as tensors:
        return {
            key.removeprefix(prefix): tensors.get_tensor(key).float()
            for key in tensors.keys()  # noqa: SIM118 - not a dict
            if key.startswith(prefix)
        }
