"""Registry of auxiliary encoders, keyed on their config's `model_type`; encoders of transformers need no entry."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoConfig, Florence2VisionConfig, PreTrainedConfig, PreTrainedModel

from fo1.errors import CheckpointError, InputError
from fo1.models.backbone import TransformersEncoder
from fo1.models.configuration import AUXILIARY_CONFIGS, LightEncoderConfig, RegionEncoderConfig
from fo1.models.davit import DaViT
from fo1.models.efficientnet import PIXEL_MEAN, PIXEL_SCALE
from fo1.models.light_encoder import LightEncoder
from fo1.models.tensor_files import check_complete

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Encoder:
    """One kind of auxiliary encoder.

    Attributes:
        make: the encoder from its config.
        mean: of red, green and blue in [0, 1], by which its pixels are normalised.
        std: likewise.
    """

    make: Callable[[Any], nn.Module]
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD


ENCODERS: dict[str, Encoder] = {
    Florence2VisionConfig.model_type: Encoder(DaViT),
    LightEncoderConfig.model_type: Encoder(
        LightEncoder, [PIXEL_MEAN / 255] * 3, [PIXEL_SCALE / 255] * 3
    ),
}
"""All that are made in a way of their own; `register_encoder` adds to them."""


def register_encoder(
    config: type[PreTrainedConfig],
    make: Callable[[Any], nn.Module],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> None:
    """Make an auxiliary encoder of your own known, before models of it are made or loaded.

    Args:
        config: class of its config, with a `model_type` of its own.
        make: class of the encoder, or a function that makes it from its config; what it has to offer is told in
            `region_encoder.AuxiliaryEncoder`. Parts that its attribute `learned` names learn with the regions.
        mean: of red, green and blue in [0, 1], by which its pixels are normalised.
        std: likewise.

    Raises:
        InputError: the config names no kind, or one that is taken.
    """
    kind = config.model_type
    known = AUXILIARY_CONFIGS.get(kind, config)
    taken = (
        known.__qualname__ != config.__qualname__ or ENCODERS.get(kind, Encoder(make)).make != make
    )
    if not kind or taken:
        raise InputError(
            f"auxiliary encoder {kind!r} is {known.__name__}'s; give yours a model_type of its own"
        )
    AUXILIARY_CONFIGS[kind] = config
    ENCODERS[kind] = Encoder(make, tuple(mean), tuple(std))


def make_auxiliary(config: RegionEncoderConfig) -> nn.Module | None:
    """Return the auxiliary encoder that the settings name; None if they use none."""
    if not config.use_auxiliary:
        return None
    own = ENCODERS.get(config.auxiliary_config.model_type)
    if own is not None:
        return own.make(config.auxiliary_config)
    return TransformersEncoder(config.auxiliary_config, config.pyramid_width)


def read_auxiliary_config(folder: str | Path) -> PreTrainedConfig:
    """Return the config of the vision encoder in a folder or hub id, also where a text encoder lies beside it."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{folder} holds no encoder of transformers ({reason})") from error
    return cast(PreTrainedConfig, getattr(config, "vision_config", config))


def load_auxiliary(encoder: nn.Module, folder: str | Path) -> None:
    """Load the weights of a folder or hub id into an auxiliary encoder, in place.

    Raises:
        CheckpointError: the encoder is of a kind that knows no folders, or weights are missing.
    """
    module = encoder.backbone if isinstance(encoder, TransformersEncoder) else encoder
    if not isinstance(module, PreTrainedModel):
        raise CheckpointError(
            f"{type(module).__name__} does not load from {folder}; give its config, then load its weights yourself"
        )
    kind = cast(Any, type(module))
    found, info = kind.from_pretrained(folder, config=module.config, output_loading_info=True)
    check_complete({**info, "unexpected_keys": ()}, str(folder))
    module.load_state_dict(found.state_dict())


def pixel_statistics(
    config: PreTrainedConfig | None, folder: str | Path | None = None
) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and spread by which the pixels of an auxiliary encoder are normalised.

    Those of the image processor in its folder, where there is one; else those of its kind.
    """
    stored = Path(folder or "", "preprocessor_config.json")
    if folder is not None and stored.is_file():
        values = json.loads(stored.read_text(encoding="utf-8"))
        if values.get("image_mean") and values.get("image_std"):
            return values["image_mean"], values["image_std"]
    kind = ENCODERS.get(config.model_type) if config is not None else None
    return (IMAGENET_MEAN, IMAGENET_STD) if kind is None else (kind.mean, kind.std)
