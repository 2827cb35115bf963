"""The way back into the published layout: our names and options as other tools know them.

What that layout has no place for is refused, which is found out by reading the options back. A score head is
left behind, and so is what a mode stores but never reads: nothing of it is left in our layout.
"""

import re
from typing import Any, cast

from transformers import Florence2VisionConfig

from fo1.errors import CheckpointError
from fo1.models.configuration import FO1Config, RegionEncoderConfig
from fo1.models.conversion import (
    _PREFIXES,
    _PYRAMID,
    DAVIT_SIZES,
    PUBLISHED_MODEL_TYPE,
    TEXT_KEYS,
)
from fo1.models.published_options import read_config

ARCHITECTURE = "OmChatQwen25VLForCausalLM"
HOST_MODEL_TYPE = "qwen2_5_vl"
VISION_TOWER = "resources/Qwen2.5-VL-3B-Instruct-Vision_Tower"
SCORE_PREFIX = "score_head."

_TOKEN_KEYS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_VISION_KEYS = (
    *("depth", "fullatt_block_indexes", "hidden_act", "hidden_size", "in_channels"),
    *("intermediate_size", "num_heads", "out_hidden_size", "patch_size", "spatial_merge_size"),
    *("temporal_patch_size", "tokens_per_second", "window_size", "in_chans", "spatial_patch_size"),
)

# The rules of the way in, turned round; each sees what those before it wrote.
_DAVIT_NAMES = {
    r"^(convs\.\d+\.)conv\.": r"\1proj.",
    r"\.conv(\d)\.": r".conv\1.fn.dw.",
    r"\.ffn\.": ".ffn.fn.net.",
    r"\.norm2\.": ".ffn.norm.",
    r"\.(window|channel)_attn\.": r".\1_attn.fn.",
    r"\.spatial_block\.norm1\.": ".spatial_block.window_attn.norm.",
    r"\.channel_block\.norm1\.": ".channel_block.channel_attn.norm.",
}
_PYRAMID_NAMES = {ours: pattern.replace("\\", "") for pattern, ours in _PYRAMID.items()}


def our_name_to_published(name: str, config: FO1Config) -> str:
    """Return the published name of one of our tensors.

    Raises:
        CheckpointError: the published layout has no place for it.
    """
    for published, (ours, _) in _PREFIXES.items():
        if not name.startswith(ours):
            continue
        rest = name.removeprefix(ours)
        if ours == "region_encoder.auxiliary.":
            for pattern, to in _DAVIT_NAMES.items():
                rest = re.sub(pattern, to, rest)
        if ours == "region_encoder.pyramid.":
            start = next((part for part in _PYRAMID_NAMES if rest.startswith(part)), "")
            rest = _PYRAMID_NAMES.get(start, "") + rest.removeprefix(start)
        if _projector_kind(ours, config) == "linear":
            rest = rest.removeprefix("0.")
        return published + rest
    raise CheckpointError(f"tensor {name!r} has no place in the published layout")


def export_config(config: FO1Config, auxiliary_resize: str = "dynamic") -> dict[str, Any]:
    """Return the published config.json of one of our configs.

    Args:
        config: of the model.
        auxiliary_resize: how its processor resizes pictures for the auxiliary encoder.

    Raises:
        CheckpointError: the published layout cannot express the model.
    """
    _check_parts(config)
    raw = _host_options(config) | _region_options(config.region_config)
    raw |= {
        "mm_projector_type": config.image_projector,
        "mm_num_region_tokens": config.num_region_tokens,
        "mm_use_region_index_token": True,
        "aux_image_aspect_ratio": auxiliary_resize,
        "aux_image_size": 1024,
        "delay_load": True,
        "tokenizer_padding_side": "right",
    }
    _check_read_back(raw, config)
    return raw


def _check_parts(config: FO1Config) -> None:
    """Check that host and auxiliary encoder are those of the published layout."""
    host = config.vlm_config.model_type if config.vlm_config else None
    region = config.region_config
    auxiliary = cast(Any, region.auxiliary_config)
    found = None
    if host != HOST_MODEL_TYPE:
        found = f"host {host!r}, need {HOST_MODEL_TYPE!r}"
    elif region.use_auxiliary and not isinstance(auxiliary, Florence2VisionConfig):
        need = Florence2VisionConfig.model_type
        found = f"auxiliary encoder {auxiliary.model_type!r}, need {need!r} (DaViT)"
    if found:
        raise _not_expressible(found)


def _check_read_back(raw: dict[str, Any], config: FO1Config) -> None:
    """Check that the published options mean the same model."""
    again = read_config(raw, config.region_placeholder_id)
    ours = config.region_config.to_dict()
    for key, value in again.region_config.to_dict().items():
        if key not in _WITHOUT_MEANING and key != "auxiliary_config" and value != ours.get(key):
            raise _not_expressible(f"{key} {ours.get(key)!r}, need {value!r}")


# Of parts that a model does not have, and of the library.
_WITHOUT_MEANING = ("transformers_version", "dtype", "_name_or_path", "architectures")


def _not_expressible(found: str) -> CheckpointError:
    return CheckpointError(
        f"the published layout cannot express this model: {found}; keep it in the layout of fo1"
    )


def _host_options(config: FO1Config) -> dict[str, Any]:
    host = cast(Any, config.vlm_config)
    text, vision = host.get_text_config(), host.vision_config
    return {
        **{key: getattr(text, key) for key in TEXT_KEYS if hasattr(text, key)},
        **{key: getattr(host, key) for key in _TOKEN_KEYS},
        "model_type": PUBLISHED_MODEL_TYPE,
        "architectures": [ARCHITECTURE],
        "torch_dtype": str(config.dtype or "float32").removeprefix("torch."),
        "tie_word_embeddings": config.tie_word_embeddings,
        "rope_theta": text.rope_parameters["rope_theta"],
        "rope_scaling": {
            "type": "default",
            "rope_type": "default",
            "mrope_section": text.rope_parameters["mrope_section"],
        },
        "vision_config": {"model_type": HOST_MODEL_TYPE}
        | {key: getattr(vision, key) for key in _VISION_KEYS if hasattr(vision, key)},
        "mm_vision_tower": VISION_TOWER,
        "mm_hidden_size": vision.out_hidden_size,
    }


def _region_options(region: RegionEncoderConfig) -> dict[str, Any]:
    davit = cast(Any, region.auxiliary_config)
    both = region.use_host and region.use_auxiliary
    in_auxiliary_frame = both and region.box_frame == "auxiliary"
    strategy = {(True, True): "hybrid", (False, True): "feature_map_based"}
    return {
        "mm_region_hidden_size": region.region_width(sum(davit.embed_dim) if davit else 0),
        "mm_projector_aux_type": region.projector,
        "mm_roi_output_size": region.output_size,
        "mm_use_simpleFPN_for_vt": region.use_pyramid,
        "mm_simple_fpn_out_channels": region.pyramid_width,
        "mm_use_vision_tower_region_feature": region.use_host,
        "mm_use_vt_region_feature_only": not region.use_auxiliary,
        "mm_region_feature_combination": region.combination + "_aux_pos" * in_auxiliary_frame,
        "mm_apply_region_layer_norm": region.layer_norm,
        "mm_apply_position_embedding": region.box_embedding or region.map_embedding,
        "mm_pos_embedding_strategy": strategy.get(
            (region.box_embedding, region.map_embedding), "bbox_based"
        ),
        **_auxiliary_options(davit),
    }


def _auxiliary_options(davit: Any) -> dict[str, Any]:
    """Return how the auxiliary encoder is named, with its sizes where the name does not tell them."""
    large = next(reversed(DAVIT_SIZES))
    if davit is None:
        return {"mm_vision_tower_aux": f"resources/{large}.pth"}
    sizes = {key: getattr(davit, key) for key in DAVIT_SIZES[large]}
    for name, known in DAVIT_SIZES.items():
        if sizes == known:
            return {"mm_vision_tower_aux": f"resources/{name}.pth"}
    sizes["dim_embed"] = sizes.pop("embed_dim")
    return {"mm_vision_tower_aux": "resources/davit-other.pth", "aux_vision_config": sizes}


def _projector_kind(prefix: str, config: FO1Config) -> str | None:
    """Return the kind of the projector whose tensors stand under a prefix of ours."""
    return {
        "image_projector.": config.image_projector,
        "region_encoder.projector.": config.region_config.projector,
    }.get(prefix)
