"""The host's options in the published config.json; see `options`."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import Qwen2_5_VLConfig
from transformers.activations import ACT2FN

from fo1.errors import CheckpointError
from fo1.models.checks import need_choice, need_divisor, show, wrong
from fo1.models.published.options_table import Options

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

TOKEN_KEYS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_VISION_COUNTS = (
    *("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size"),
    *("patch_size", "spatial_merge_size", "temporal_patch_size", "window_size"),
)
# The library leaves out of a file what is its default. At 3B, the one published size, these two differ from it.
_VISION_REQUIRED = ("hidden_size", "out_hidden_size")


def host_config(options: Options) -> Qwen2_5_VLConfig:
    """Return the config of the host inside a published config.json.

    Raises:
        CheckpointError: an option is missing, of the wrong type, or contradicts another.
    """
    tower = options.text("mm_vision_tower")
    if "qwen2.5-vl" not in tower.lower():
        raise wrong("config.json: mm_vision_tower", tower, "a name that holds 'Qwen2.5-VL'")
    for key in ("vocab_size", "intermediate_size", "num_hidden_layers"):
        options.count(key)
    heads = options.count("num_attention_heads")
    need_divisor("config.json: num_attention_heads", heads, options.count("hidden_size"))
    groups = options.count("num_key_value_heads", heads)
    need_divisor("config.json: num_key_value_heads", groups, heads)
    rope = options.table("rope_scaling")
    kind = rope.raw.get("type", rope.raw.get("rope_type", "default"))
    need_choice("config.json: rope_scaling: type", kind, ("default", "mrope"))
    sections, half = rope.numbers("mrope_section"), options.count("hidden_size") // heads / 2
    if len(sections) != 3 or sum(sections) != half:
        raise wrong(
            "config.json: rope_scaling: mrope_section",
            sections,
            f"three numbers that add up to {half:g}, half the width of a head",
        )
    _check_activation(options)
    vision = _vision_options(options.table("vision_config"))
    try:
        host = Qwen2_5_VLConfig(
            text_config={key: options.raw[key] for key in TEXT_KEYS if key in options.raw}
            | {
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": options.value("rope_theta", 1e6),
                    "mrope_section": sections,
                }
            },
            vision_config=vision,
            tie_word_embeddings=options.flag("tie_word_embeddings", False),
            **{key: options.raw[key] for key in TOKEN_KEYS if key in options.raw},
        )
    except (StrictDataclassError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"config.json describes no model: {reason}; correct it") from error
    if not 0 <= host.image_token_id < options.count("vocab_size"):
        raise wrong(
            "config.json: image_token_id", host.image_token_id, "a row of the token embeddings"
        )
    return host


def _vision_options(options: Options) -> dict[str, Any]:
    """Return the options of the host's vision encoder; most that are left out have the library's defaults."""
    for key in _VISION_REQUIRED:
        options.value(key)
    _check_activation(options)
    defaults = Qwen2_5_VLConfig().vision_config
    vision = {key: value for key, value in options.raw.items() if key != "rope_scaling"}
    vision |= {key: options.count(key, getattr(defaults, key)) for key in _VISION_COUNTS}
    need_divisor(f"{options.where}: num_heads", vision["num_heads"], vision["hidden_size"])
    key = "fullatt_block_indexes"
    blocks = options.numbers(key, getattr(defaults, key), least=0)
    if max(blocks) >= vision["depth"]:
        raise wrong(f"{options.where}: {key}", blocks, f"blocks under depth {vision['depth']}")
    # parity: their outputs are taken in the order in which the blocks run.
    return vision | {key: sorted(set(blocks))}


def _check_activation(options: Options) -> None:
    found = options.raw.get("hidden_act", "silu")
    if not isinstance(found, str) or found not in ACT2FN:
        raise CheckpointError(
            f"{options.where}: hidden_act is {show(found)}, which the library does not know; correct it"
        )
