"""FO1Processor: pictures, boxes and prompts become one `BatchFeature`, here a `ModelInputs`.

Boxes come in as pixels of the original picture and leave in the frames of the two encoders; this is the only place
where they are scaled. Keys of the result:

    input_ids, attention_mask        (B, T) left-padded
    region_index                     (M,) region (over all pictures) of each placeholder, in order
    auxiliary_pixel_values           list of (3, H_i, W_i), one per picture
    auxiliary_boxes, host_boxes      list of (N_i, 4), one per picture
    ...                              the host's own picture inputs, named by its family
"""

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

from fo1.errors import InputError
from fo1.geometry import (
    AUXILIARY_RESIZES,
    Size,
    auxiliary_size,
    cap_size,
    check_boxes,
    place_boxes,
    scale_boxes,
)
from fo1.models.checks import need_choice
from fo1.models.encoders import IMAGENET_MEAN, IMAGENET_STD
from fo1.models.families import UNNAMED_FAMILY, get_family
from fo1.models.published.reading import (
    IMAGE_TOKEN,
    is_published,
    load_tokenizer,
    published_auxiliary_resize,
    published_image_processor,
    published_tokenizer,
)
from fo1.tags import IMAGE_PLACEHOLDER, REGION_PLACEHOLDER, placed_regions

MAX_SIDE, MIN_SIDE = 2048, 28


class ModelInputs(BatchFeature):
    """A batch that keeps boxes and the auxiliary encoder's pixels in float32 when it is cast.

    In bfloat16 boxes would be off by pixels, and that encoder chooses its own type.
    """

    exact = ("auxiliary_pixel_values", "auxiliary_boxes", "host_boxes")

    def to(self, *args: Any, **kwargs: Any) -> "ModelInputs":
        """Move everything, cast floating tensors that are not to be exact, and return the batch itself."""
        exact = {name: self[name] for name in self.exact if name in self}
        super().to(*args, **kwargs)
        for name, tensors in exact.items():
            self[name] = [
                own.to(moved.device) for own, moved in zip(tensors, self[name], strict=True)
            ]
        return self


class FO1Processor(ProcessorMixin):
    """Holds the host's image processor, the auxiliary encoder's and the tokenizer; round-trips through AutoProcessor.

    Args:
        image_processor: the host's.
        auxiliary_image_processor: normalises for the auxiliary encoder; no resize.
        tokenizer: the host's, with the region tokens and the placeholder token.
        image_token: what the host's vocabulary calls one image position.
        auxiliary_resize: how pictures are resized for the auxiliary encoder, see `geometry.auxiliary_size`.
        host: the `model_type` of the host's config, which tells its family.

    Raises:
        CheckpointError: the family or the resize is unknown.
        InputError: the image processor does not show the host the whole picture.
    """

    def __init__(
        self,
        image_processor: Any = None,
        auxiliary_image_processor: Any = None,
        tokenizer: Any = None,
        image_token: str = IMAGE_TOKEN,
        auxiliary_resize: str = "dynamic",
        host: str = UNNAMED_FAMILY,
        **kwargs: Any,
    ):
        self.image_token = image_token
        self.auxiliary_resize = need_choice("auxiliary_resize", auxiliary_resize, AUXILIARY_RESIZES)
        self.host = host
        get_family(host).check_image_processor(image_processor)
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

        def load() -> Any:
            return AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)

        return cls(
            image_processor=pillow_processor(stored["image_processor"]),
            auxiliary_image_processor=pillow_processor(stored["auxiliary_image_processor"]),
            tokenizer=load_tokenizer(folder, load) if folder.is_dir() else load(),
            image_token=stored["image_token"],
            auxiliary_resize=stored.get("auxiliary_resize", "dynamic"),
            host=stored.get("host", UNNAMED_FAMILY),
        )

    @classmethod
    def from_published(cls, folder: Path) -> "FO1Processor":
        """Return the processor of a checkpoint in the published layout."""
        tokenizer = published_tokenizer(folder)
        return cls(
            image_processor=published_image_processor(folder, tokenizer),
            auxiliary_image_processor=make_auxiliary_processor(IMAGENET_MEAN, IMAGENET_STD),
            tokenizer=tokenizer,
            auxiliary_resize=published_auxiliary_resize(folder),
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
            raise InputError(
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
        auxiliary_pixels, capped = [], []
        for index, (image, given) in enumerate(zip(images, boxes, strict=True)):
            check_boxes(given, (image.height, image.width), where=f"boxes of picture {index}")
            image, pixels = self._limited(image)
            capped.append(image)
            auxiliary_pixels.append(pixels)
        host = self.host_pictures(capped)
        placed = [
            self.place((image.height, image.width), given, frame)
            for image, given, frame in zip(images, boxes, self.host_frames(host), strict=True)
        ]
        return {
            **host,
            "auxiliary_pixel_values": auxiliary_pixels,
            "auxiliary_boxes": [auxiliary for auxiliary, _ in placed],
            "host_boxes": [seen for _, seen in placed],
        }

    def auxiliary_pixels(self, image: Image.Image) -> Tensor:
        """Return (3, H, W): one picture as the auxiliary encoder sees it."""
        return self._limited(image)[1]

    def _limited(self, image: Image.Image) -> tuple[Image.Image, Tensor]:
        """Return a picture brought to a size within the limits, and its pixels for the auxiliary encoder."""
        limited, frame = self._limits((image.height, image.width))
        image = _resized(image, limited)
        seen = self.auxiliary_image_processor(_resized(image, frame), return_tensors="pt")
        return image, seen["pixel_values"][0]

    def place(
        self, size: Size, boxes: npt.ArrayLike, host_frame: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return boxes of a picture twice: (N, 4) as the auxiliary encoder sees it, and as the host does.

        Args:
            size: (height, width) of the picture.
            boxes: (N, 4) xyxy, its pixels, which `check_boxes` let through.
            host_frame: (width, height) of the picture as the host sees it.
        """
        limited, frame = self._limits(size)
        # Unlike the reference, boxes are scaled as well when a tiny picture is enlarged.
        auxiliary = place_boxes(boxes, size, limited, frame)
        width, height = host_frame
        seen = scale_boxes(auxiliary, frame, (height, width))
        return torch.from_numpy(auxiliary), torch.from_numpy(seen)

    def _limits(self, size: Size) -> tuple[Size, Size]:
        """Return the size to which a picture is limited, and that of the auxiliary encoder's input."""
        limited = cap_size(size, MAX_SIDE, MIN_SIDE)
        return limited, auxiliary_size(limited, self.auxiliary_resize)

    def prepare_text(
        self, prompts: Sequence[str], pictures: dict[str, Any], region_counts: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return token ids of prompts; `<image>` becomes as many tokens as the picture needs.

        Regions count on from picture to picture within a prompt, and from 0 in the next prompt.
        """
        texts = self.picture_texts(pictures)
        rows: list[list[int]] = []
        index: list[int] = []
        used = 0
        for number, prompt in enumerate(prompts):
            own = slice(used, used + prompt.count(IMAGE_PLACEHOLDER))
            if own.stop > len(region_counts):
                raise InputError(
                    f"prompt {number} needs picture {own.stop - 1} but only {len(region_counts)} "
                    "were given; give one picture per <image>"
                )
            named = _placed_regions(prompt, sum(region_counts[own]), number)
            index += [sum(region_counts[:used]) + region for region in named]
            rows.append(self.token_ids(prompt, texts[own]))
            used = own.stop
        if used != len(region_counts):
            raise InputError(
                f"got {len(region_counts)} pictures but {used} <image> placeholders in the prompts; "
                "write one per picture"
            )
        ids, mask = pad_left(rows, self.tokenizer.pad_token_id)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "region_index": torch.tensor(index, dtype=torch.long),
        }

    def token_ids(self, prompt: str, picture_texts: Sequence[str] = ()) -> list[int]:
        """Return the token ids of a prompt.

        Args:
            prompt: as built by `fo1.prompts`, one `<image>` per picture.
            picture_texts: what stands for each of them.
        """
        first, *rest = prompt.split(IMAGE_PLACEHOLDER)
        text = first + "".join(map("".join, zip(picture_texts, rest, strict=True)))
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def host_pictures(self, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return the host's own inputs of some pictures."""
        return get_family(self.host).read_pictures(self.image_processor, images)

    def host_frames(self, host: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels of each picture as the host sees it."""
        return get_family(self.host).frames(self.image_processor, host)

    def picture_texts(self, pictures: Mapping[str, Any]) -> list[str]:
        """Return what stands for each picture in the prompt; empty without pictures."""
        if not pictures:
            return []
        return get_family(self.host).texts(self.image_processor, pictures, self.image_token)

    def image_token_counts(self, pictures: Mapping[str, Any]) -> list[int]:
        """Return how many positions each picture has in the prompt; empty without pictures."""
        return [text.count(self.image_token) for text in self.picture_texts(pictures)]


def pad_left(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Return ids (B, T), padded on the left, and their mask (B, T)."""
    length = max(map(len, rows))
    ids = [[padding] * (length - len(row)) + list(row) for row in rows]
    mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)


def _placed_regions(prompt: str, count: int, number: int) -> list[int]:
    """Return the regions N of all `<regionN><regionfeat>` pairs of a prompt, in order."""
    placed = list(placed_regions(prompt))
    found = prompt.count(REGION_PLACEHOLDER)
    if found != len(placed) or any(region >= count for region in placed):
        raise InputError(
            f"prompt {number} holds {found} region placeholders for {count} boxes; "
            "write each as <regionN><regionfeat> with N under the number of boxes"
        )
    return placed


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


def _resized(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)


def pillow_processor(stored: dict[str, Any]) -> Any:
    """Return the stored image processor on Pillow, whatever else is installed, so that pixels are the same anywhere."""
    settings = dict(stored)
    name = settings.pop("image_processor_type").removesuffix("Fast").removesuffix("Pil")
    return getattr(transformers, f"{name}Pil")(**settings)
