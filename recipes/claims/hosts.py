"""Tiny hosts of four families whose vision encoders begin at the cells of a frozen classifier's map.

A cell takes the place of a patch of pixels, so each family's own vision encoder, connector and language model work as
they always do, behind a map that was not learned in minutes. All of their own weights begin at random.

Legend: P cells, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from scenes import CELL_WIDTH, CELLS
from torch import Tensor, nn
from transformers import (
    BatchFeature,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen3_5Config,
    Qwen3VLConfig,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.data.collator import Batch
from fo1.models import (
    FO1Config,
    FO1ForConditionalGeneration,
    FO1Processor,
    RegionEncoderConfig,
)
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.region_encoder import RegionEncoder
from fo1.pipeline.loading import packaged_folder
from fo1.training.copying import spoken_regions
from fo1.training.objective import Objective

WIDTH, LAYERS, HEADS, INNER = 128, 4, 4, 384
VISION_LAYERS = 2
PYRAMID = 32


@dataclass(frozen=True, eq=False)
class Cells:
    """A picture as the host's patches, of height and width 1.

    Attributes:
        patches: (P, C), rows first.
    """

    patches: Tensor
    height: float = 1.0
    width: float = 1.0


NO_PICTURE = Cells(torch.zeros(CELLS**2, CELL_WIDTH))


class BlockedCells(Qwen2VLImageProcessorPil):
    """Hands over cells in the order of Qwen's merged blocks."""

    def __call__(self, images: Sequence[Cells], **_: Any) -> BatchFeature:
        """Return `pixel_values` (B P, C) and `image_grid_thw` (B, 3)."""
        half = CELLS // 2
        blocks = torch.stack([one.patches.float() for one in images])
        blocks = blocks.reshape(len(images), half, 2, half, 2, -1).transpose(2, 3)
        grids = torch.tensor([[1, CELLS, CELLS]] * len(images))
        return BatchFeature(
            {"pixel_values": blocks.reshape(-1, blocks.shape[-1]), "image_grid_thw": grids}
        )


class SquareCells(CLIPImageProcessorPil):
    """Hands over cells as a picture of many channels."""

    def __call__(self, images: Sequence[Cells], **_: Any) -> BatchFeature:
        """Return `pixel_values` (B, C, CELLS, CELLS)."""
        maps = [one.patches.float().T.reshape(-1, CELLS, CELLS) for one in images]
        return BatchFeature({"pixel_values": torch.stack(maps)})


class Copying(Objective):
    """A host's own training: what regions there are stand for words, and look like them."""

    def __init__(self, model: FO1ForConditionalGeneration, processor: FO1Processor):
        super().__init__(model)
        self.processor = processor

    def encode(self, batch: Batch) -> tuple[PictureEncoding | None, RegionEmbeddings | None]:
        """Return the pictures, and regions that are the mean word of their names, blurred."""
        pictures = {name: value for name, value in batch.pictures.items() if name != "host_boxes"}
        none = [torch.zeros(0, 4) for _ in batch.pictures.get("host_boxes", ())]
        encoding, _ = super().encode(replace(batch, pictures={**pictures, "host_boxes": none}))
        return encoding, spoken_regions(self.model, self.processor, batch)


class Pooled(nn.Module):
    """Stands for an auxiliary encoder whose features were pooled beforehand.

    Args:
        width: of a feature.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Never called."""
        raise NotImplementedError("features are pooled beforehand; give samples their features")


@dataclass(frozen=True)
class Host:
    """A family at a size that learns in minutes.

    Attributes:
        config: makes the host's config from what all texts share and the tokens of pictures.
        image_processor: makes its image processor.
        stride: cells of the picture in a cell of its map, along a side.
    """

    config: Callable[[dict[str, Any], dict[str, int]], PreTrainedConfig]
    image_processor: Callable[[], Any]
    stride: int = 1


QWEN_VISION = {
    "depth": VISION_LAYERS,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_heads": HEADS,
    "out_hidden_size": WIDTH,
    "in_channels": CELL_WIDTH,
    "patch_size": 1,
    "temporal_patch_size": 1,
}


def _qwen2_5_vl(text: dict[str, Any], tokens: dict[str, int]) -> PreTrainedConfig:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
    vision = {
        **QWEN_VISION,
        "window_size": CELLS,
        "fullatt_block_indexes": [*range(VISION_LAYERS)],
    }
    return Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config=vision,
        **tokens,
        tie_word_embeddings=True,
    )


def _qwen3_5(text: dict[str, Any], tokens: dict[str, int]) -> PreTrainedConfig:
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    }
    linear = {
        "head_dim": WIDTH // HEADS,
        "linear_key_head_dim": WIDTH // HEADS,
        "linear_value_head_dim": WIDTH // HEADS,
        "linear_num_key_heads": HEADS,
        "linear_num_value_heads": HEADS,
        "layer_types": ["linear_attention", "full_attention"] * (LAYERS // 2),
    }
    return Qwen3_5Config(
        text_config={**text, **linear, "rope_parameters": rope},
        vision_config={**QWEN_VISION, "num_position_embeddings": CELLS**2},
        **tokens,
        tie_word_embeddings=True,
    )


def _qwen3_vl(text: dict[str, Any], tokens: dict[str, int]) -> PreTrainedConfig:
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [4, 6, 6],
        "mrope_interleaved": True,
    }
    vision = {
        **QWEN_VISION,
        "depth": VISION_LAYERS + 1,
        "deepstack_visual_indexes": [*range(VISION_LAYERS)],
        "num_position_embeddings": CELLS**2,
    }
    return Qwen3VLConfig(
        text_config={**text, "head_dim": WIDTH // HEADS, "rope_parameters": rope},
        vision_config=vision,
        **tokens,
        tie_word_embeddings=True,
    )


def _llava(text: dict[str, Any], tokens: dict[str, int]) -> PreTrainedConfig:
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=VISION_LAYERS + 1,  # the last one is not read
        num_attention_heads=HEADS,
        num_channels=CELL_WIDTH,
        image_size=CELLS,
        patch_size=2,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text, tie_word_embeddings=True),
        image_token_index=tokens["image_token_id"],
        vision_feature_layer=-2,
        tie_word_embeddings=True,
    )


def _blocked_cells() -> BlockedCells:
    return BlockedCells(patch_size=1, temporal_patch_size=1, merge_size=2)


HOSTS = {
    "qwen2_5_vl": Host(_qwen2_5_vl, _blocked_cells),
    "llava": Host(
        _llava,
        lambda: SquareCells(
            do_center_crop=False,
            size={"height": CELLS, "width": CELLS},
            patch_size=2,
            num_additional_image_tokens=0,
        ),
        stride=2,
    ),
    "qwen3_5": Host(_qwen3_5, _blocked_cells),
    "qwen3_vl": Host(_qwen3_vl, _blocked_cells),
}


@cache
def build_processor(family: str) -> FO1Processor:
    """Return the packaged tokenizer beside a processor of cells."""
    packaged = FO1Processor.from_pretrained(packaged_folder())
    return FO1Processor(
        image_processor=HOSTS[family].image_processor(),
        auxiliary_image_processor=packaged.auxiliary_image_processor,
        tokenizer=packaged.tokenizer,
        host=family,
    )


def build_model(
    family: str,
    processor: FO1Processor,
    regions: Mapping[str, Any],
    axes: int,
    pointer: bool,
    seed: int,
) -> FO1ForConditionalGeneration:
    """Return a model of random weights.

    Args:
        family: of `HOSTS`.
        processor: whose tokens it reads.
        regions: settings of the region encoder that differ from the usual ones.
        axes: of the auxiliary features that are read.
        pointer: whether index tokens are written by pointing.
        seed: of the weights.
    """
    host, tokenizer = HOSTS[family], processor.tokenizer
    names = {
        "image": "<|image_pad|>",
        "video": "<|endoftext|>",
        "vision_start": "<|vision_start|>",
        "vision_end": "<|vision_end|>",
    }
    tokens = {f"{k}_token_id": tokenizer.convert_tokens_to_ids(v) for k, v in names.items()}
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "initializer_range": 0.04,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings: dict[str, Any] = {
        "host_width": WIDTH,
        "host_stride": host.stride,
        "host_levels": VISION_LAYERS,
        "pyramid_width": PYRAMID,
        "output_width": WIDTH,
        **regions,
    }
    torch.manual_seed(seed)
    model = FO1ForConditionalGeneration(
        FO1Config(
            vlm_config=host.config(text, tokens),
            region_config=RegionEncoderConfig(
                **{**settings, "use_auxiliary": False, "use_host": True}
            ),
            pointer_width=WIDTH if pointer else 0,
            region_placeholder_id=processor.region_placeholder_id,
            tie_word_embeddings=True,
        )
    )
    torch.manual_seed(seed)
    config = RegionEncoderConfig(**settings)
    auxiliary = Pooled(axes) if config.use_auxiliary else None
    model.region_encoder = RegionEncoder(config, auxiliary)
    with torch.no_grad():  # region embeddings start at the size of word embeddings
        model.region_encoder.projector[-1].weight.mul_(0.1)
    model.generation_config.eos_token_id = text["eos_token_id"]
    return model
