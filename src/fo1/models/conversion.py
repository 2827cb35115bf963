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
from transformers import AddedToken, GenerationConfig, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fo1.errors import CheckpointError
from fo1.models.checks import Options, wrong
from fo1.models.configuration import FO1Config
from fo1.models.published_host import TEXT_KEYS as TEXT_KEYS
from fo1.models.published_options import DAVIT_SIZES as DAVIT_SIZES
from fo1.models.published_options import auxiliary_resize, read_config, unused_tensors
from fo1.prompts import REGION_PLACEHOLDER

PUBLISHED_MODEL_TYPE = "omchat_qwen2_5_vl"
HOST_PIXELS = (56 * 56, 2048 * 2048)

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
    "model.object_vp_extractor.aux_region_norm.": ("region_encoder.auxiliary_norm.", {}),
    "model.object_vp_extractor.vt_region_norm.": ("region_encoder.host_norm.", {}),
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
    file = folder / "preprocessor_config.json"
    stored = _read_json(file) if file.exists() else {}
    statistics = {key: stored[key] for key in ("image_mean", "image_std") if key in stored}
    for key, values in statistics.items():
        triple = isinstance(values, list) and len(values) == 3
        if not triple or any(type(value) not in (int, float) for value in values):
            raise wrong(f"{file.name}: {key}", values, "three numbers")
    return Qwen2VLImageProcessorPil(
        **statistics,
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
    """Return our config for a published checkpoint.

    Raises:
        CheckpointError: an option is missing, of the wrong type, unknown, or contradicts another.
    """
    placeholder = published_tokenizer(folder).convert_tokens_to_ids(REGION_PLACEHOLDER)
    raw = _read_json(folder / "config.json")
    rows = Options(raw).count("vocab_size")
    if placeholder >= rows:
        raise CheckpointError(
            f"the tokenizer fills all {rows} embedding rows, none is left for {REGION_PLACEHOLDER}; "
            "resize the embeddings of the checkpoint first"
        )
    return read_config(raw, placeholder)


def published_auxiliary_resize(folder: Path) -> str:
    """Return how a published checkpoint has pictures resized for the auxiliary encoder."""
    return auxiliary_resize(_read_json(folder / "config.json"))


def published_generation_config(folder: Path) -> GenerationConfig:
    """Return the generation settings of a published checkpoint; decoding is greedy, as in the reference."""
    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig()


def published_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a published checkpoint that its mode uses under our names, each read once."""
    unused = unused_tensors(_read_json(folder / "config.json"))
    weights: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                if name.startswith(unused):
                    continue
                ours = published_name_to_ours(name)
                if ours in weights:
                    raise CheckpointError(
                        f"tensor {name!r} of {file.name} is stored twice; download the checkpoint again"
                    )
                weights[ours] = tensors.get_tensor(name)
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; give a folder that holds a checkpoint"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); download it again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no table of options; download it again")
    return found
