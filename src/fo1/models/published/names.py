"""What the published layout calls our tensors, in both directions.

Source: names of om-ai-lab/VLM-FO1's released checkpoints; see docs/parity.md.
"""

import re

from fo1.errors import CheckpointError
from fo1.models.configuration import FO1Config

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


def published_name_to_ours(name: str) -> str:
    """Return our name of a published tensor."""
    for prefix, (replacement, rules) in _PREFIXES.items():
        rest = name.removeprefix(prefix)
        if rest and rest != name:
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


def _projector_kind(prefix: str, config: FO1Config) -> str | None:
    """Return the kind of the projector whose tensors stand under a prefix of ours."""
    return {
        "image_projector.": config.image_projector,
        "region_encoder.projector.": config.region_config.projector,
    }.get(prefix)
