"""The way back into the published layout: our options as other tools know them.

What that layout has no place for is refused, which is found out by reading the options back. A score head is
left behind, and so is what a mode stores but never reads: nothing of it is left in our layout.
"""

import json
from typing import Any, cast

from transformers import Florence2VisionConfig

from fo1.errors import CheckpointError
from fo1.models.checks import show
from fo1.models.configuration import FO1Config, RegionEncoderConfig
from fo1.models.published.host import TEXT_KEYS, TOKEN_KEYS
from fo1.models.published.options import DAVIT_SIZES, read_config
from fo1.models.published.reading import PUBLISHED_MODEL_TYPE

ARCHITECTURE = "OmChatQwen25VLForCausalLM"
HOST_MODEL_TYPE = "qwen2_5_vl"
VISION_TOWER = "resources/Qwen2.5-VL-3B-Instruct-Vision_Tower"
SCORE_PREFIX = "score_head."

# Told as notes where a checkpoint is converted.
_ELSEWHERE = ("score_config", "repeat_regions")
# Of the library, in any part; none changes what a loaded model computes.
_BOOKKEEPING = (
    *("_name_or_path", "architectures", "dtype", "transformers_version"),
    *("initializer_range", "pad_token_id"),
)
# The host's own tie counts, `rope_type` stands beside its older name, and the others belong to parts of the
# host or of Florence-2 that no model of this layout has.
_UNREAD = (
    "vlm_config.vision_token_id",
    "vlm_config.text_config.tie_word_embeddings",
    "vlm_config.text_config.rope_parameters.type",
    *(
        f"region_config.auxiliary_config.{key}"
        for key in ("projection_dim", "max_position_embeddings", "max_temporal_embeddings")
    ),
)
_VISION_KEYS = (
    *("depth", "fullatt_block_indexes", "hidden_act", "hidden_size", "in_channels"),
    *("intermediate_size", "num_heads", "out_hidden_size", "patch_size", "spatial_merge_size"),
    *("temporal_patch_size", "tokens_per_second", "window_size", "in_chans", "spatial_patch_size"),
)


def export_config(config: FO1Config, auxiliary_resize: str = "dynamic") -> dict[str, Any]:
    """Return the published config.json of one of our configs.

    Args:
        config: of the model.
        auxiliary_resize: how its processor resizes pictures for the auxiliary encoder.

    Raises:
        CheckpointError: the published layout cannot express the model.
    """
    _check_parts(config)
    raw = written_options(config, auxiliary_resize)
    _check_read_back(raw, config)
    return raw


def written_options(config: FO1Config, auxiliary_resize: str = "dynamic") -> dict[str, Any]:
    """Return the published options of a config, whether or not they say all of it."""
    raw = _host_options(config) | _region_options(config.region_config)
    return raw | {
        "mm_projector_type": config.image_projector,
        "mm_num_region_tokens": config.num_region_tokens,
        "mm_use_region_index_token": True,
        "aux_image_aspect_ratio": auxiliary_resize,
        "aux_image_size": 1024,
        "delay_load": True,
        "tokenizer_padding_side": "right",
    }


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
    ours, theirs = (_flat(json.loads(c.to_json_string(use_diff=False))) for c in (config, again))
    for key in (*ours, *theirs):
        last = key.rpartition(".")[2]
        if key in _ELSEWHERE or key in _UNREAD or last in _BOOKKEEPING:
            continue
        if (found := ours.get(key)) != (need := theirs.get(key)):
            raise _not_expressible(f"{key} {show(found)}, need {show(need)}")


def _flat(table: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Return the settings of a config by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value and key not in _ELSEWHERE:
            flat |= _flat(value, f"{where}{key}.")
        else:
            flat[f"{where}{key}"] = value
    return flat


def _not_expressible(found: str) -> CheckpointError:
    return CheckpointError(
        f"the published layout cannot express this model: {found}; keep it in the layout of fo1"
    )


def _host_options(config: FO1Config) -> dict[str, Any]:
    host = cast(Any, config.vlm_config)
    text, vision = host.get_text_config(), host.vision_config
    return {
        **{key: getattr(text, key) for key in TEXT_KEYS if hasattr(text, key)},
        **{key: getattr(host, key) for key in TOKEN_KEYS},
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
