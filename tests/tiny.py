"""Tiny random models of every host family, and pictures to feed them; nothing is downloaded.

Weights are drawn wide enough that regions, pictures and words change the outcome visibly: with the
library's usual spread of 0.02 a model of this size answers almost the same to everything.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Florence2VisionConfig,
    Gemma3Config,
    Gemma3ImageProcessorPil,
    GotOcr2ImageProcessorPil,
    Idefics3Config,
    Idefics3ImageProcessorPil,
    InternVLConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessorPil,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen3_5Config,
    Qwen3VLConfig,
    SmolVLMConfig,
    SmolVLMImageProcessorPil,
    VipLlavaConfig,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.layout import VISION_END, VISION_START, region_list
from fo1.models import (
    FO1Config,
    FO1ForConditionalGeneration,
    FO1Processor,
    RegionEncoderConfig,
    ScoreHeadConfig,
)
from fo1.models.families import get_family
from fo1.models.processing import IMAGENET_MEAN, IMAGENET_STD, make_auxiliary_processor
from fo1.models.published.reading import published_tokenizer

_OWN = importlib.util.spec_from_file_location(
    "own_family", Path(__file__).parents[1] / "examples/own_family.py"
)
assert _OWN is not None
assert _OWN.loader is not None
sys.modules[_OWN.name] = importlib.util.module_from_spec(_OWN)
_OWN.loader.exec_module(sys.modules[_OWN.name])  # "vipllava"

TOKENIZER = Path(__file__).parent / "parity/fixtures/VLM-FO1_Qwen2.5-VL-tiny"
WIDTH = 32
VOCABULARY = 2048
PLACEHOLDER = 2020
FRAME = 140  # side of the one size that a host without free sizes reads
TILE = 56  # side of a tile, for hosts that cut pictures up
GRIDS = [[TILE * rows, TILE * columns] for rows in range(1, 4) for columns in range(1, 4)]
WRITERS = ("o_proj.weight", "down_proj.weight")


@dataclass(frozen=True)
class TinyHost:
    """One row of the family contract test.

    Attributes:
        config: makes the host's config.
        image_processor: makes its image processor.
        vision_blocks: finds the blocks of its vision encoder.
        attention: what such a block calls its attention.
        attends: what that returns, from the states it adds nothing to.
        patches: finds the (H W, C) patches of the first picture in what a block returns.
        token_types: what its forward calls the marks of image tokens, where it asks for them.
    """

    config: Callable[[], PreTrainedConfig]
    image_processor: Callable[[], Any]
    vision_blocks: Callable[[Any], torch.nn.ModuleList]
    attention: str
    attends: Callable[[torch.Tensor], Any] = torch.zeros_like
    patches: Callable[[torch.Tensor], torch.Tensor] = lambda output: output
    token_types: str | None = "mm_token_type_ids"


QWEN: dict[str, Any] = {
    "image_token_id": 1804,
    "video_token_id": 1805,
    "vision_start_token_id": 1801,
    "vision_end_token_id": 1802,
    "tie_word_embeddings": True,
}
QWEN_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def _qwen2_5_vl() -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config={
            **QWEN_TEXT,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 1, 1],
            },
            "bos_token_id": 1793,
            "eos_token_id": 1792,
        },
        vision_config={
            "depth": 3,
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1, 2],
            "window_size": 56,
            "patch_size": 14,
            "spatial_merge_size": 2,
        },
        **QWEN,
    )


QWEN_VISION = {
    "depth": 2,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": WIDTH,
    "patch_size": 14,
    "num_position_embeddings": 64,
}
"""Without windows, as from Qwen3 on."""


def _qwen3_5() -> Qwen3_5Config:
    return Qwen3_5Config(
        text_config={
            **QWEN_TEXT,
            "head_dim": 16,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
            "eos_token_id": 1792,
        },
        vision_config=QWEN_VISION,
        **QWEN,
    )


def _qwen3_vl() -> Qwen3VLConfig:
    return Qwen3VLConfig(
        text_config={
            **QWEN_TEXT,
            "num_hidden_layers": 3,
            "head_dim": 8,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
            "eos_token_id": 1792,
        },
        vision_config={**QWEN_VISION, "depth": 3, "deepstack_visual_indexes": [0, 1]},
        **QWEN,
    )


def _llava(**options: Any) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=FRAME,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=None,
    )
    layers = {"vision_feature_layer": [-3, -2], "image_token_index": 1804}
    return LlavaConfig(**{"vision_config": vision, "text_config": text, **layers, **options})


LLAMA_TEXT = {
    **QWEN_TEXT,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
TOWER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": 14,
}


def _vipllava() -> VipLlavaConfig:
    llava = _llava()
    return VipLlavaConfig(
        vision_config=llava.vision_config,
        text_config=llava.text_config,
        vision_feature_layer=[-2, -1, 1],
        image_token_index=1804,
    )


def _llava_onevision() -> LlavaOnevisionConfig:
    return LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **TOWER},
        text_config={"model_type": "qwen2", **LLAMA_TEXT},
        image_token_index=1804,
        video_token_index=1805,
        vision_aspect_ratio="anyres_max_4",
        image_grid_pinpoints=GRIDS,
        tie_word_embeddings=False,
    )


def _internvl() -> InternVLConfig:
    return InternVLConfig(
        vision_config={**TOWER, "image_size": [TILE, TILE], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", **LLAMA_TEXT},
        image_token_id=1804,
        image_seq_length=4,
        tie_word_embeddings=False,
    )


def _gemma3() -> Gemma3Config:
    return Gemma3Config(
        vision_config={**TOWER, "image_size": FRAME},
        text_config={
            **LLAMA_TEXT,
            "head_dim": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 8,
        },
        image_token_index=1804,
        boi_token_index=1801,
        eoi_token_index=1802,
        mm_tokens_per_image=25,
    )


def _idefics3(kind: type[Idefics3Config] | type[SmolVLMConfig]) -> Any:
    return kind(
        vision_config=TOWER,
        text_config={"model_type": "llama", **LLAMA_TEXT},
        image_token_id=1804,
        scale_factor=2,
        pad_token_id=None,
        tie_word_embeddings=False,
    )


def llava_image_processor(side: int = FRAME, patch: int = 14) -> CLIPImageProcessorPil:
    """Return an image processor that squashes whole pictures, and knows the patches."""
    return CLIPImageProcessorPil(
        do_center_crop=False,
        size={"height": side, "width": side},
        patch_size=patch,
        num_additional_image_tokens=0,
    )


HOSTS: dict[str, TinyHost] = {
    "qwen2_5_vl": TinyHost(
        config=_qwen2_5_vl,
        image_processor=lambda: Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=448 * 448),
        vision_blocks=lambda vlm: vlm.model.visual.blocks,
        attention="attn",
    ),
    "qwen3_vl": TinyHost(
        config=_qwen3_vl,
        image_processor=lambda: Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=448 * 448),
        vision_blocks=lambda vlm: vlm.model.visual.blocks,
        attention="attn",
    ),
    "qwen3_5": TinyHost(
        config=_qwen3_5,
        image_processor=lambda: Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=448 * 448),
        vision_blocks=lambda vlm: vlm.model.visual.blocks,
        attention="attn",
    ),
    "llava": TinyHost(
        config=_llava,
        image_processor=llava_image_processor,
        vision_blocks=lambda vlm: vlm.model.vision_tower.encoder.layers,
        attention="self_attn",
        attends=lambda states: (torch.zeros_like(states), None),
        patches=lambda output: output[0, 1:],
        token_types=None,
    ),
    "vipllava": TinyHost(
        config=_vipllava,
        image_processor=llava_image_processor,
        vision_blocks=lambda vlm: vlm.model.vision_tower.encoder.layers,
        attention="self_attn",
        attends=lambda states: (torch.zeros_like(states), None),
        patches=lambda output: output[0, 1:],
        token_types=None,
    ),
    "llava_onevision": TinyHost(
        config=_llava_onevision,
        image_processor=lambda: LlavaOnevisionImageProcessorPil(
            size={"height": TILE, "width": TILE}, image_grid_pinpoints=GRIDS
        ),
        vision_blocks=lambda vlm: vlm.model.vision_tower.encoder.layers,
        attention="self_attn",
        attends=lambda states: (torch.zeros_like(states), None),
        patches=lambda output: output[1:].flatten(0, 1),
        token_types=None,
    ),
    "internvl": TinyHost(
        config=_internvl,
        image_processor=lambda: GotOcr2ImageProcessorPil(
            size={"height": TILE, "width": TILE}, max_patches=6
        ),
        vision_blocks=lambda vlm: vlm.model.vision_tower.encoder.layer,
        attention="attention",
        attends=lambda states: (torch.zeros_like(states), None),
        patches=lambda output: output[:-1, 1:].flatten(0, 1),
        token_types=None,
    ),
    "gemma3": TinyHost(
        config=_gemma3,
        image_processor=lambda: Gemma3ImageProcessorPil(size={"height": FRAME, "width": FRAME}),
        vision_blocks=lambda vlm: vlm.model.vision_tower.encoder.layers,
        attention="self_attn",
        attends=lambda states: (torch.zeros_like(states), None),
        patches=lambda output: output[0],
        token_types="token_type_ids",
    ),
    **{
        name: TinyHost(
            config=lambda kind=kind: _idefics3(kind),
            image_processor=lambda made=made: made(
                size={"longest_edge": 3 * TILE}, max_image_size={"longest_edge": TILE}
            ),
            vision_blocks=lambda vlm: vlm.model.vision_model.encoder.layers,
            attention="self_attn",
            attends=lambda states: (torch.zeros_like(states), None),
            patches=lambda output: output[:-1].flatten(0, 1),
            token_types=None,
        )
        for name, kind, made in (
            ("idefics3", Idefics3Config, Idefics3ImageProcessorPil),
            ("smolvlm", SmolVLMConfig, SmolVLMImageProcessorPil),
        )
    },
}


KINDS = ("qwen2_5_vl", "qwen3_5", "llava", "gemma3")
"""Hosts that stand for all where a test asks how rows are read: positions in three dimensions, states that are carried
on, neither, and masks and windows of a host's own."""


def davit_config() -> Florence2VisionConfig:
    return Florence2VisionConfig(
        depths=[1, 1, 1, 1],
        embed_dim=[8, 8, 16, 16],
        num_heads=[1, 2, 2, 4],
        num_groups=[1, 2, 2, 4],
        patch_size=[7, 3, 3, 3],
        patch_stride=[4, 2, 2, 2],
        patch_padding=[3, 1, 1, 1],
        patch_prenorm=[False, True, True, True],
        window_size=4,
        drop_path_rate=0.0,
    )


def make_config(
    host: str = "qwen2_5_vl", score: bool = False, pointer: int = 0, **region: Any
) -> FO1Config:
    vlm = HOSTS[host].config()
    family = get_family(host)
    return FO1Config(
        vlm_config=vlm,
        region_config=RegionEncoderConfig(
            **{
                "auxiliary_config": davit_config(),
                "host_width": family.map_width(vlm),
                "host_stride": family.map_stride(vlm),
                "host_levels": len(family.region_layers(vlm)),
                "pyramid_width": 8,
                "output_width": WIDTH,
                **region,
            }
        ),
        score_config=ScoreHeadConfig(width=16) if score else None,
        pointer_width=pointer,
        region_placeholder_id=PLACEHOLDER,
    )


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Draw all weights anew: matrices keep the spread of what goes through, nothing is zero."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter is embeddings:
                parameter.copy_(0.5 * noise)
            elif parameter.ndim > 1:
                # What the language model adds has to outweigh the last word, or it repeats that.
                gain = 5 if "vision" not in name and name.endswith(WRITERS) else 1
                parameter.copy_(gain * noise / parameter[0].numel() ** 0.5)
            elif name.endswith("weight"):
                # Some models norm what a layer adds, so there the gain stands in the norm.
                gain = 5 if name.endswith("post_feedforward_layernorm.weight") else 1
                parameter.copy_(gain * (1 + 0.15 * noise))
            elif parameter.ndim == 1:
                parameter.copy_(0.1 * noise)


def make_model(
    host: str = "qwen2_5_vl", seed: int = 0, **options: Any
) -> FO1ForConditionalGeneration:
    model = FO1ForConditionalGeneration(make_config(host, **options))
    randomise(model, seed)
    model.generation_config.pad_token_id = 1793
    return model.eval()


def make_processor(host: str = "qwen2_5_vl") -> FO1Processor:
    return FO1Processor(
        image_processor=get_family(host).fit_image_processor(
            HOSTS[host].image_processor(), HOSTS[host].config()
        ),
        auxiliary_image_processor=make_auxiliary_processor(IMAGENET_MEAN, IMAGENET_STD),
        tokenizer=published_tokenizer(TOKENIZER),
        host=host,
    )


def plain_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer as a language model brings it: 257 tokens, none of ours, nothing to pad with."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="</s>")


def save_host(family: str, folder: Path) -> None:
    """Write a host as its makers would: nothing in it knows of regions."""
    torch.manual_seed(0)
    host = AutoModelForImageTextToText.from_config(HOSTS[family].config())
    host.save_pretrained(folder)
    HOSTS[family].image_processor().save_pretrained(folder)
    plain_tokenizer().save_pretrained(folder)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return a picture of random coloured patches."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)


def boxes(count: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return (N, 4) float32 boxes inside the picture."""
    corners = np.random.default_rng(seed).random((count, 2, 2)) * [width, height]
    return np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)


def prompt(*num_regions: int, text: str = "Find the cup.") -> str:
    """Return a prompt with one picture per number, each followed by its regions, which count on."""
    markup = f"{VISION_START}<image>{VISION_END}"
    firsts = [sum(num_regions[:place]) for place in range(len(num_regions))]
    pictures = zip(num_regions, firsts, strict=True)
    return "".join(f"{markup}\n{region_list(n, first)}\n" for n, first in pictures) + f"{text}\n"


@dataclass(frozen=True)
class Scene:
    """What the processor takes for one prompt with one picture."""

    image: Image.Image
    boxes: np.ndarray
    text: str


def scene(
    width: int,
    height: int,
    regions: int,
    seed: int = 0,
    text: str = "Find the cup.",
) -> Scene:
    return Scene(
        image=picture(width, height, seed),
        boxes=boxes(regions, width, height, seed),
        text=prompt(regions, text=text),
    )


def own_inputs(model: FO1ForConditionalGeneration, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of the bare host, as its own processor would make them."""
    takes = inspect.signature(model.vlm.forward).parameters
    names = ("input_ids", "attention_mask", *model.family.image_inputs)
    own = {name: inputs[name] for name in names if name in takes}
    marks = HOSTS[model.family.model_type].token_types
    if marks is not None:
        is_image = inputs["input_ids"] == model.family.image_token_id(model.vlm.config)
        own[marks] = is_image.int()
    return own


def collate(processor: FO1Processor, *scenes: Scene) -> dict[str, Any]:
    return processor(
        images=[s.image for s in scenes],
        boxes=[s.boxes for s in scenes],
        text=[s.text for s in scenes],
    )
