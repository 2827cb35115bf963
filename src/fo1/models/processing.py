"""FO1Processor: pictures, boxes and prompts become one `BatchFeature`, here a `ModelInputs`.

Boxes come in as pixels of the original picture and leave in the frames of the two encoders; this is the only place
where they are scaled. Keys of the result:

    input_ids, attention_mask        (B, T) left-padded
    region_index                     (M,) region (over all pictures) of each placeholder, in order
    auxiliary_pixel_values           list of (3, H_i, W_i), one per picture
    auxiliary_boxes, host_boxes      list of (N_i, 4), one per picture
    ...                              the host's own picture inputs, e.g. pixel_values, image_grid_thw
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, BatchFeature, CLIPImageProcessorPil, ProcessorMixin

from fo1.geometry import cap_size, check_boxes, clip_boxes, scale_boxes
from fo1.models.conversion import is_published, published_image_processor, published_tokenizer
from fo1.prompts import IMAGE_PLACEHOLDER, REGION_PLACEHOLDER

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MAX_SIDE, MIN_SIDE = 2048, 28
_REGION = re.compile(r"<region([0-9]+)>" + re.escape(REGION_PLACEHOLDER))


class ModelInputs(BatchFeature):
    """A batch whose boxes stay float32 when it is cast: in bfloat16 they would be off by pixels."""

    def to(self, *args: Any, **kwargs: Any) -> "ModelInputs":
        """Move everything, cast floating tensors that are not boxes, and return the batch itself."""
        exact = {name: self[name] for name in ("auxiliary_boxes", "host_boxes") if name in self}
        super().to(*args, **kwargs)
        for name, boxes in exact.items():
            self[name] = [
                own.to(moved.device) for own, moved in zip(boxes, self[name], strict=True)
            ]
        return self


class FO1Processor(ProcessorMixin):
    """Holds the host's image processor, the auxiliary encoder's and the tokenizer; round-trips through AutoProcessor.

    Args:
        image_processor: the host's.
        auxiliary_image_processor: normalises for the auxiliary encoder; no resize.
        tokenizer: the host's, with the region tokens and the placeholder token.
        image_token: what the host's vocabulary calls one image position.
    """

    def __init__(
        self,
        image_processor: Any = None,
        auxiliary_image_processor: Any = None,
        tokenizer: Any = None,
        image_token: str = "<|image_pad|>",
        **kwargs: Any,
    ):
        self.image_token = image_token
        self.auxiliary_image_processor: Any
        super().__init__(
            image_processor=image_processor,
            auxiliary_image_processor=auxiliary_image_processor,
            tokenizer=tokenizer,
            **kwargs,
        )
        tokenizer.padding_side = "left"

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> "FO1Processor":
        """Return the processor of a folder or hub id, in our layout or in the published one."""
        folder = Path(pretrained_model_name_or_path)
        if (
            folder.is_dir()
            and not (folder / "processor_config.json").exists()
            and is_published(folder)
        ):
            return cls.from_published(folder)
        stored, _ = cls.get_processor_dict(pretrained_model_name_or_path, **kwargs)
        return cls(
            image_processor=_pillow_processor(stored["image_processor"]),
            auxiliary_image_processor=_pillow_processor(stored["auxiliary_image_processor"]),
            tokenizer=AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs),
            image_token=stored["image_token"],
        )

    @classmethod
    def from_published(cls, folder: Path) -> "FO1Processor":
        """Return the processor of a checkpoint in the published layout."""
        return cls(
            image_processor=published_image_processor(folder),
            auxiliary_image_processor=make_auxiliary_processor(IMAGENET_MEAN, IMAGENET_STD),
            tokenizer=published_tokenizer(folder),
        )

    @property
    def region_placeholder_id(self) -> int:
        """Token id whose embedding is overwritten by a region embedding."""
        return self.tokenizer.convert_tokens_to_ids(REGION_PLACEHOLDER)

    def __call__(
        self,
        images: Sequence[Image.Image] = (),
        boxes: Sequence[npt.ArrayLike] = (),
        text: str | Sequence[str] = (),
    ) -> ModelInputs:
        """Return model inputs.

        Args:
            images: RGB pictures in the order in which `<image>` occurs in the prompts.
            boxes: per picture (N_i, 4) xyxy pixels of that picture; may be left out when there are none.
            text: one prompt or several, as built by `fo1.prompts`, with `<image>` and `<regionN><regionfeat>`.
        """
        prompts = [text] if isinstance(text, str) else list(text)
        boxes = list(boxes) or [np.zeros((0, 4), np.float32)] * len(images)
        if len(boxes) != len(images):
            raise ValueError(
                f"got {len(images)} pictures but boxes for {len(boxes)}; give one list per picture"
            )
        data = self.prepare_pictures(images, boxes) if images else {}
        if prompts:
            counts = [len(b) for b in data.get("auxiliary_boxes", ())]
            data |= self.prepare_text(prompts, data, counts)
        return ModelInputs(data)

    def prepare_pictures(
        self, images: Sequence[Image.Image], boxes: Sequence[npt.ArrayLike]
    ) -> dict[str, Any]:
        """Return pixels and scaled boxes of the pictures."""
        auxiliary_pixels, auxiliary_boxes, capped, sizes = [], [], [], []
        for index, (image, given) in enumerate(zip(images, boxes, strict=True)):
            size = (image.height, image.width)
            checked = check_boxes(given, size, where=f"boxes of picture {index}")
            target = cap_size(size, MAX_SIDE, MIN_SIDE)
            if target != size:
                image = image.resize((target[1], target[0]), Image.Resampling.BICUBIC)
            capped.append(image)
            # Unlike the reference, boxes are scaled as well when a tiny picture is enlarged.
            auxiliary_boxes.append(clip_boxes(scale_boxes(checked, size, target), target))
            sizes.append(target)
            pixels = self.auxiliary_image_processor(image, return_tensors="pt")["pixel_values"][0]
            auxiliary_pixels.append(pixels)
        host = self.image_processor(capped, return_tensors="pt")
        host_boxes = [
            scale_boxes(found, size, (height, width))
            for found, size, (width, height) in zip(
                auxiliary_boxes, sizes, self.host_frames(host), strict=True
            )
        ]
        return {
            **host,
            "auxiliary_pixel_values": auxiliary_pixels,
            "auxiliary_boxes": [torch.from_numpy(found) for found in auxiliary_boxes],
            "host_boxes": [torch.from_numpy(found) for found in host_boxes],
        }

    def prepare_text(
        self, prompts: Sequence[str], pictures: dict[str, Any], region_counts: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return token ids of prompts; `<image>` becomes as many tokens as the picture needs."""
        tokens = iter(self.image_token_counts(pictures))
        firsts = np.cumsum([0, *region_counts]).tolist()
        expanded, index, used = [], [], 0
        for number, prompt in enumerate(prompts):
            pieces = prompt.split(IMAGE_PLACEHOLDER)
            if used + len(pieces) - 1 > len(region_counts):
                raise ValueError(
                    f"prompt {number} needs picture {used + len(pieces) - 2} but only {len(region_counts)} were given"
                )
            out = pieces[0]
            index += self._region_rows(pieces[0], 0, 0, number)
            for piece in pieces[1:]:
                out += self.image_token * next(tokens) + piece
                index += self._region_rows(piece, firsts[used], region_counts[used], number)
                used += 1
            expanded.append(out)
        if used != len(region_counts):
            raise ValueError(
                f"got {len(region_counts)} pictures but {used} <image> placeholders in the prompts"
            )
        encoded = self.tokenizer(
            expanded,
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
            padding_side="left",
        )
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "region_index": torch.tensor(index, dtype=torch.long),
        }

    def _region_rows(self, piece: str, first: int, count: int, prompt: int) -> list[int]:
        """Return the rows named by `<regionN><regionfeat>` pairs behind one picture."""
        named = [int(n) for n in _REGION.findall(piece)]
        found = piece.count(REGION_PLACEHOLDER)
        if found != len(named) or any(n >= count for n in named):
            raise ValueError(
                f"prompt {prompt} holds {found} region placeholders for {count} boxes; "
                "write each as <regionN><regionfeat> with N under the number of boxes"
            )
        return [first + n for n in named]

    def host_frames(self, host: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels of each picture as the host sees it."""
        patch = self.image_processor.patch_size
        return [(int(w) * patch, int(h) * patch) for _, h, w in host["image_grid_thw"].tolist()]

    def image_token_counts(self, pictures: Mapping[str, Any]) -> list[int]:
        """Return how many tokens each picture takes in the prompt; empty without pictures."""
        if not pictures:
            return []
        return (pictures["image_grid_thw"].prod(-1) // self.image_processor.merge_size**2).tolist()


def make_auxiliary_processor(mean: Sequence[float], std: Sequence[float]) -> CLIPImageProcessorPil:
    """Return an image processor that rescales and normalises, without resize or crop."""
    return CLIPImageProcessorPil(
        do_resize=False,
        do_center_crop=False,
        do_rescale=True,
        do_normalize=True,
        do_convert_rgb=False,
        image_mean=list(mean),
        image_std=list(std),
    )


def _pillow_processor(stored: dict[str, Any]) -> Any:
    """Return the stored image processor on Pillow, whatever else is installed, so that pixels are the same anywhere."""
    settings = dict(stored)
    name = settings.pop("image_processor_type").removesuffix("Fast").removesuffix("Pil")
    return getattr(transformers, f"{name}Pil")(**settings)
