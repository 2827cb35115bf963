"""A stage of training as a value: what learns, how fast, for how long.

Source: the two stages of arXiv 2509.25916 (region-language alignment, then perception instruction tuning), preceded
here by the host's own training where the host is not pretrained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

HOST = ("vlm.",)
HOST_LANGUAGE = ("vlm.model.language_model.",)
REGIONS = ("region_encoder.projector.", "region_encoder.pyramid.", "score_head.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: for logs and checkpoints.
        learns: prefixes of the names of the parameters that learn; everything else is frozen.
        steps: optimiser steps.
        learning_rate: peak; linear warm-up, then cosine to a tenth.
        warmup: steps of the warm-up.
        weight_decay: of matrices; vectors have none.
        losses: weight of each loss by name.
    """

    name: str
    learns: tuple[str, ...]
    steps: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.01
    losses: Mapping[str, float] = field(default_factory=dict)


def apply_stage(model: nn.Module, stage: Stage) -> list[str]:
    """Freeze and thaw the model's parameters; return the names of those that learn.

    Raises:
        ValueError: a prefix matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in stage.learns:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(
                f"stage {stage.name!r} trains {prefix!r}, but no parameter of the model starts so"
            )
    learning = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(stage.learns))
        if parameter.requires_grad:
            learning.append(name)
    return learning
