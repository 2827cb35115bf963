"""The published on-disk layout, read as it is: options and tensor names of `omchat_qwen2_5_vl`.

Source: names and shapes of om-ai-lab/VLM-FO1's released checkpoints; see docs/parity.md.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor
from transformers import (
    AddedToken,
    Florence2VisionConfig,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2Tokenizer,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.errors import CheckpointError
from fo1.models.configuration import FO1Config, RegionEncoderConfig
from fo1.prompts import REGION_PLACEHOLDER

PUBLISHED_MODEL_TYPE = "omchat_qwen2_5_vl"
HOST_PIXELS = (56 * 56, 2048 * 2048)

TEXT_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "use_cache",
    "attention_dropout",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
)
"""Options of the language model that stand at the top of the published config.json."""

DAVIT_SIZES: dict[str, dict[str, Any]] = {
    "davit-large": {
        "depths": [1, 1, 9, 1],
        "embed_dim": [256, 512, 1024, 2048],
        "num_heads": [8, 16, 32, 64],
        "num_groups": [8, 16, 32, 64],
        "patch_size": [7, 3, 3, 3],
        "patch_stride": [4, 2, 2, 2],
        "patch_padding": [3, 1, 1, 1],
        "patch_prenorm": [False, True, True, True],
        "window_size": 12,
        "drop_path_rate": 0.1,
    },
}

# Pyramid stages are numbered by log2 of their scale's stride in the published names, with the place of each layer.
_PYRAMID = {
    r"simfp_1\.0\.": "resample.0.0.",
    r"simfp_1\.1\.": "resample.0.1.",
    r"simfp_1\.3\.": "resample.0.3.",
    r"simfp_1\.4\.norm\.": "smooth.0.0.1.",
    r"simfp_1\.4\.": "smooth.0.0.0.",
    r"simfp_1\.5\.norm\.": "smooth.0.1.1.",
    r"simfp_1\.5\.": "smooth.0.1.0.",
    r"simfp_2\.0\.": "resample.1.",
    r"simfp_2\.1\.norm\.": "smooth.1.0.1.",
    r"simfp_2\.1\.": "smooth.1.0.0.",
    r"simfp_2\.2\.norm\.": "smooth.1.1.1.",
    r"simfp_2\.2\.": "smooth.1.1.0.",
    r"simfp_3\.0\.norm\.": "smooth.2.0.1.",
    r"simfp_3\.0\.": "smooth.2.0.0.",
    r"simfp_3\.1\.norm\.": "smooth.2.1.1.",
    r"simfp_3\.1\.": "smooth.2.1.0.",
    r"simfp_4\.1\.norm\.": "smooth.3.0.1.",
    r"simfp_4\.1\.": "smooth.3.0.0.",
    r"simfp_4\.2\.norm\.": "smooth.3.1.1.",
    r"simfp_4\.2\.": "smooth.3.1.0.",
}
_DAVIT = {
    r"(convs\.\d+\.)proj\.": r"\1conv.",
    r"\.conv(\d)\.fn\.dw\.": r".conv\1.",
    r"\.(window|channel)_attn\.norm\.": r".norm1.",
    r"\.(window|channel)_attn\.fn\.": r".\1_attn.",
    r"\.ffn\.norm\.": r".norm2.",
    r"\.ffn\.fn\.net\.": r".ffn.",
}
_PREFIXES = {
    "lm_head.": ("vlm.lm_head.", {}),
    "model.vision_tower.image_tower.": ("vlm.model.visual.", {}),
    "model.vision_tower_aux.image_tower.": ("region_encoder.auxiliary.", _DAVIT),
    "model.object_vp_extractor.simple_fpn.": ("region_encoder.pyramid.", _PYRAMID),
    "model.mm_projector_aux.": ("region_encoder.projector.", {}),
    "model.mm_projector.": ("image_projector.", {}),
    "model.embed_tokens.": ("vlm.model.language_model.embed_tokens.", {}),
    "model.layers.": ("vlm.model.language_model.layers.", {}),
    "model.norm.": ("vlm.model.language_model.norm.", {}),
}


def published_name_to_ours(name: str) -> str:
    """Return our name of a published tensor."""
    for prefix, (replacement, rules) in _PREFIXES.items():
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            for pattern, to in rules.items():
                rest, count = re.subn(pattern, to, rest)
                if count and rules is _PYRAMID:
                    break
            # A linear projector is stored without the index of its only layer.
            if "projector" in prefix and not rest[0].isdigit():
                rest = "0." + rest
            return replacement + rest
    raise CheckpointError(
        f"tensor {name!r} has no place in the published layout; is this another model?"
    )


def is_published(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint in the published layout."""
    return _read_json(folder / "config.json").get("model_type") == PUBLISHED_MODEL_TYPE


def published_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a published checkpoint with the placeholder token behind all published ones."""
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    add_region_placeholder(tokenizer)
    return tokenizer


def published_image_processor(folder: Path) -> Any:
    """Return the host's image processor of a published checkpoint."""
    vision = published_config(folder).vlm_config.vision_config
    return Qwen2VLImageProcessorPil(
        # parity: the reference overrides the limits in preprocessor_config.json.
        min_pixels=HOST_PIXELS[0],
        max_pixels=HOST_PIXELS[1],
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
    )


def add_region_placeholder(tokenizer: Any) -> None:
    """Add the placeholder token `<regionfeat>` to a tokenizer, in place."""
    tokenizer.add_tokens(
        [AddedToken(REGION_PLACEHOLDER, special=True, normalized=False)], special_tokens=True
    )


def published_config(folder: Path) -> FO1Config:
    """Return our config for a published checkpoint."""
    placeholder = published_tokenizer(folder).convert_tokens_to_ids(REGION_PLACEHOLDER)
    raw = _read_json(folder / "config.json")
    option = _Options(raw)
    option.expect("mm_region_feature_combination", "concat", default="concat")
    option.expect("mm_pos_embedding_strategy", "bbox_based", default="bbox_based")
    option.expect("mm_apply_position_embedding", True, default=True)
    option.expect("mm_apply_region_layer_norm", False, default=False)
    option.expect("mm_use_vision_tower_region_feature", True, default=True)
    option.expect("mm_use_vt_region_feature_only", False, default=False)
    option.expect("mm_use_region_index_token", True, default=True)
    option.expect("aux_image_aspect_ratio", "dynamic", default="dynamic")

    if placeholder >= raw["vocab_size"]:
        raise CheckpointError(
            f"the tokenizer fills all {raw['vocab_size']} embedding rows, none is left for {REGION_PLACEHOLDER}; "
            "resize the embeddings of the checkpoint first"
        )
    vision = {key: value for key, value in raw["vision_config"].items() if key != "rope_scaling"}
    host = Qwen2_5_VLConfig(
        text_config={key: raw[key] for key in TEXT_KEYS if key in raw}
        | {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": raw.get("rope_theta", 1e6),
                "mrope_section": raw["rope_scaling"]["mrope_section"],
            }
        },
        vision_config=vision,
        tie_word_embeddings=raw.get("tie_word_embeddings", False),
        **{
            key: raw[key]
            for key in (
                "image_token_id",
                "video_token_id",
                "vision_start_token_id",
                "vision_end_token_id",
            )
            if key in raw
        },
    )
    region = RegionEncoderConfig(
        auxiliary_config=_davit_config(raw),
        host_width=vision["hidden_size"],
        host_stride=vision.get("patch_size", 14),
        host_levels=len(vision["fullatt_block_indexes"]),
        use_pyramid=raw.get("mm_use_simpleFPN_for_vt", False),
        pyramid_width=raw.get("mm_simple_fpn_out_channels", 512),
        output_size=raw.get("mm_roi_output_size", 7),
        projector=raw.get("mm_projector_aux_type", "linear"),
        output_width=raw["hidden_size"],
    )
    return FO1Config(
        vlm_config=host,
        region_config=region,
        image_projector=raw.get("mm_projector_type", "linear"),
        region_placeholder_id=placeholder,
        num_region_tokens=raw.get("mm_num_region_tokens", 100),
        tie_word_embeddings=raw.get("tie_word_embeddings", False),
    )


def published_generation_config(folder: Path) -> GenerationConfig:
    """Return the generation settings of a published checkpoint; decoding is greedy, as in the reference."""
    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig()


def published_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a published checkpoint under our names, each read once."""
    weights = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                weights[published_name_to_ours(name)] = tensors.get_tensor(name)
    return weights


def check_complete(info: Mapping[str, Any], name: str) -> None:
    """Check that tensors and options of a checkpoint agree.

    Args:
        info: what `from_pretrained(..., output_loading_info=True)` reported.
        name: the checkpoint, for the message.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; such a model would answer at random.
    """
    wrong = [f"{key} is missing" for key in sorted(info["missing_keys"])]
    wrong += [f"{key} is left over" for key in sorted(info["unexpected_keys"])]
    wrong += [
        f"{key} has shape {list(found)}, need {list(needed)}"
        for key, found, needed in sorted(info["mismatched_keys"])
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{name}: {wrong[0]}{more}; config.json and the weights do not belong together, download both again"
        )


def weight_files(folder: Path) -> Iterable[Path]:
    """Return the safetensors files of a folder, complete or not at all."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = [folder / name for name in sorted(set(_read_json(index)["weight_map"].values()))]
    else:
        files = [folder / "model.safetensors"]
    for file in files:
        if not file.exists():
            raise CheckpointError(
                f"{file} is missing; download the checkpoint again, all files of it"
            )
    return files


class _Options:
    """Options of the published line that this version reads only in their published value."""

    def __init__(self, raw: dict[str, Any]):
        self.raw = raw

    def expect(self, key: str, value: Any, default: Any) -> None:
        found = self.raw.get(key, default)
        if found != value:
            raise CheckpointError(
                f"config.json sets {key} to {found!r}; only {value!r} is supported by this version of fo1"
            )


def _davit_config(raw: dict[str, Any]) -> Florence2VisionConfig:
    sizes = raw.get("aux_vision_config")
    if sizes is None:
        name = Path(raw["mm_vision_tower_aux"]).name.removesuffix(".pth")
        if name not in DAVIT_SIZES:
            raise CheckpointError(
                f"config.json names the auxiliary encoder {name!r}; known: {', '.join(DAVIT_SIZES)}"
            )
        sizes = DAVIT_SIZES[name]
    sizes = dict(sizes)
    sizes["embed_dim"] = sizes.pop("dim_embed", sizes.get("embed_dim"))
    return Florence2VisionConfig(**sizes)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; give a folder that holds a checkpoint"
        ) from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); download it again") from None
