"""Masks from boxes or points by SAM 2 (Source: arXiv 2408.00714), where its weights are there; no torchvision needed.

    segmenter = Segmenter.from_pretrained(FOLDER)
    scene = model.encode(picture, masks=segmenter.at_points(picture, [[320, 240]]))     # points become regions
    found = segmenter.segment(picture, scene.detect(["cup"]))                           # detections get masks

Legend: N boxes or points, S side of the square frame that the model reads, K masks it offers for each.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2Model

from fo1.errors import CheckpointError, InputError
from fo1.geometry import Boxes, as_points, check_boxes, clip_boxes
from fo1.imaging import ImageSource, load_image
from fo1.masks import Masks
from fo1.models.encoders import IMAGENET_MEAN, IMAGENET_STD
from fo1.models.frames import Placement, stretch
from fo1.models.tensor_files import check_complete
from fo1.results import Detections

AT_ONCE = 32
"""Boxes or points of one pass; each takes a mask of the whole picture."""


class Segmenter:
    """Cuts things out of pictures; threads may share it.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Sam2Model) -> None:
        self.model: Any = model
        self.side: int = self.model.config.prompt_encoder_config.image_size

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Return a segmenter with the weights of a folder or hub id.

        Raises:
            CheckpointError: it holds no SAM 2, or weights are missing.
        """
        try:
            model, info = cast(
                Any, Sam2Model.from_pretrained(folder, dtype=dtype, output_loading_info=True)
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(f"{folder} holds no SAM 2 of transformers ({reason})") from error
        # Those of videos hold more than pictures need.
        check_complete({**info, "unexpected_keys": ()}, str(folder))
        return cls(model.to(device).eval())

    def in_boxes(self, image: ImageSource, boxes: npt.ArrayLike) -> Masks:
        """Return the mask of the thing in each box; where the model finds nothing, the box's own pixels.

        Args:
            image: the picture.
            boxes: (N, 4) xyxy pixels of it.

        Raises:
            BoxError: boxes are malformed or outside the picture.
        """
        picture = load_image(image)
        size = (picture.height, picture.width)
        given = clip_boxes(check_boxes(boxes, size), size)
        return self._cut(picture, given, points=False)

    def at_points(self, image: ImageSource, points: npt.ArrayLike) -> Masks:
        """Return the mask of the thing at each point, of those that the model offers the one it holds best.

        Args:
            image: the picture.
            points: (N, 2) x and y in pixels of it. Where the model finds nothing, the point's own pixel is the mask.

        Raises:
            InputError: points are malformed or outside the picture.
        """
        picture = load_image(image)
        places = as_points(points, (picture.height, picture.width))
        return self._cut(picture, np.concatenate([places, places], axis=1), points=True)

    def segment(self, image: ImageSource, detections: Detections) -> Detections:
        """Return the same detections with a mask in each box.

        Raises:
            InputError: they are of a picture of another size.
        """
        picture = load_image(image)
        if (picture.height, picture.width) != detections.image_size:
            height, width = detections.image_size
            raise InputError(
                f"the picture is {picture.width} x {picture.height} but the detections are for {width} x {height}; "
                "pass the picture they were made on"
            )
        return replace(detections, masks=self.in_boxes(picture, detections.boxes))

    def _cut(self, picture: Image.Image, boxes: Boxes, points: bool) -> Masks:
        size = (picture.height, picture.width)
        if not len(boxes):
            return Masks((), size)
        cut = [Masks.from_array(mask) for mask in self._masks(picture, boxes, points)]
        return Masks.merge(cut, size)

    @torch.inference_mode()
    def _masks(
        self, picture: Image.Image, boxes: Boxes, points: bool
    ) -> Iterator[npt.NDArray[np.bool_]]:
        """Yield (n, H, W) masks of some boxes at a time; points are boxes without extent."""
        mean, std = (
            cast("tuple[float, float, float]", tuple(255 * part for part in own))
            for own in (IMAGENET_MEAN, IMAGENET_STD)
        )
        pixels, placement = stretch(picture, self.side, mean, std)
        seen = self.model.get_image_embeddings(pixels.to(self.model.device, self.model.dtype))
        for start in range(0, len(boxes), AT_ONCE):
            some = boxes[start : start + AT_ONCE]
            logits = self._ask(seen, some, placement, points)  # (n, s, s)
            size = (picture.height, picture.width)
            fine = F.interpolate(logits[None].float(), size=size, mode="bilinear")[0]
            masks = (fine > 0).cpu().numpy()
            for row in np.flatnonzero(~masks.any((1, 2))):
                x1, y1, x2, y2 = some[row]
                left, top = min(int(x1), picture.width - 1), min(int(y1), picture.height - 1)
                masks[row, top : max(round(y2), top + 1), left : max(round(x2), left + 1)] = True
            yield masks

    def _ask(self, seen: Any, boxes: Boxes, placement: Placement, points: bool) -> Tensor:
        placed = torch.from_numpy(placement.to_frame(boxes)).to(self.model.device)[None]
        if not points:
            given = {"input_boxes": placed.to(self.model.dtype), "multimask_output": False}
        else:
            given = {
                "input_points": placed[:, :, None, :2].to(self.model.dtype),
                "input_labels": torch.ones(
                    1, len(boxes), 1, dtype=torch.int, device=self.model.device
                ),
                "multimask_output": True,
            }
        said = self.model(image_embeddings=seen, **given)
        best = said.iou_scores[0].argmax(-1)  # (n, K) -> (n,)
        return said.pred_masks[0][torch.arange(len(boxes), device=best.device), best]
