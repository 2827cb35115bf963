"""A stage of training as a value: what learns, how fast, on what, for how long.

Source: the two stages of arXiv 2509.25916: region-language alignment with the host frozen, then perception instruction
tuning, in which the auxiliary encoder and the language model join and the host's vision encoder stays frozen. The
paper's rates, steps and mixtures are not known; those of the recipes are ours.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from fo1.errors import InputError
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training.objective import WEIGHTS

GROUPS = {
    "regions": "what turns boxes into region tokens (HFRE): pyramid, norms, projector",
    "score_head": "the head that scores regions against queries",
    "pointer": "the part that writes an index token by pointing at its region",
    "new_tokens": "the rows of region and answer tokens in the vocabulary, the others stay",
    "auxiliary": "the auxiliary vision encoder",
    "language_model": "the host's language model with its vocabulary",
    "adapters": "LoRA adapters in the host's language model",
    "vision": "the host's vision encoder and connector",
    "image_projector": "what stands between the host's image tokens and its language model",
}
"""Groups of parameters that a stage may name, and what they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """Low-rank adapters in every linear layer of the language model.

    Attributes:
        rank: of the update.
        alpha: the update is scaled by alpha / rank.
        dropout: of the adapters' inputs.
        four_bit: hold the frozen layers in 4-bit NormalFloat (QLoRA, arXiv 2305.14314).
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    four_bit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: for logs and checkpoints.
        learns: peak learning rate by group of `GROUPS`; everything else is frozen.
        steps: optimiser steps.
        batch: samples of one optimiser step, over all processes and micro-batches.
        warmup: share of the steps in which rates rise; then a cosine down to a tenth.
        weight_decay: of matrices; vectors have none.
        clip: norm to which gradients are cut.
        losses: weight of each loss by name.
        mixture: weight of each source of records by its name; all by their size if empty.
        adapter: needed where "adapters" learn.
    """

    name: str
    learns: Mapping[str, float]
    steps: int
    batch: int = 8
    warmup: float = 0.03
    weight_decay: float = 0.01
    clip: float = 1.0
    losses: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    mixture: Mapping[str, float] = field(default_factory=dict[str, float])
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.learns) - set(GROUPS))
        if unknown or not self.learns:
            said = f"does not know {unknown[0]!r}" if unknown else "trains nothing"
            raise InputError(f"stage {self.name!r} {said}; groups are {', '.join(GROUPS)}")
        if ("adapters" in self.learns) != (self.adapter is not None):
            raise InputError(
                f"stage {self.name!r}: give an adapter and let 'adapters' learn, or neither"
            )
        if {"adapters", "language_model"} <= set(self.learns):
            raise InputError(
                f"stage {self.name!r} trains the language model and adapters in it; choose one of them"
            )
        for what, weights in (
            ("learns", self.learns),
            ("losses", self.losses),
            ("mixture", self.mixture),
        ):
            for name, value in weights.items():
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if not number or not math.isfinite(value) or value < 0:
                    raise InputError(
                        f"stage {self.name!r}: {what}.{name} is {value!r}; give a number, 0 or more"
                    )
        for what, value, least in (("steps", self.steps, 1), ("batch", self.batch, 1)):
            if value < least:
                raise InputError(f"stage {self.name!r}: {what} is {value}; give {least} or more")


def alignment(steps: int, batch: int, rate: float = 1e-3, **options: object) -> Stage:
    """Return stage 1, region-language alignment: the host is frozen."""
    learns: dict[str, float] = {
        **dict.fromkeys(("regions", "score_head", "pointer", "new_tokens"), rate)
    }
    return Stage(name="alignment", learns=learns, steps=steps, batch=batch, **options)  # type: ignore[arg-type]


def perception(
    steps: int,
    batch: int,
    rate: float = 2e-5,
    region_rate: float = 1e-4,
    adapter: Adapter | None = None,
    **options: object,
) -> Stage:
    """Return stage 2, perception instruction tuning: auxiliary encoder and language model join."""
    learns: dict[str, float] = {
        "regions": region_rate,
        "score_head": region_rate,
        "pointer": region_rate,
        "auxiliary": rate,
    }
    if adapter is None:
        learns["language_model"] = rate
    else:
        learns |= {"adapters": 10 * rate, "new_tokens": region_rate}
    return Stage(
        name="perception",
        learns=learns,
        steps=steps,
        batch=batch,
        adapter=adapter,
        **options,  # type: ignore[arg-type]
    )


def group_of(model: FO1ForConditionalGeneration) -> dict[str, str]:
    """Return the group of every parameter of a model by its name; frozen-by-design ones have none."""
    host = model.vlm
    language = {id(p) for p in host.get_decoder().parameters()}
    for part in (host.get_input_embeddings(), host.get_output_embeddings()):
        language |= {id(p) for p in part.parameters()} if isinstance(part, nn.Module) else set()
    # What an encoder came without, such as a pyramid, learns with the regions.
    fresh = getattr(model.region_encoder.auxiliary, "learned", ())
    found: dict[str, str] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("token_rows."):
            found[name] = "new_tokens"
        elif "lora_" in name:
            found[name] = "adapters"
        elif name.startswith("region_encoder.auxiliary."):
            found[name] = "regions" if name.split(".")[2] in fresh else "auxiliary"
        elif name.startswith("region_encoder."):
            found[name] = "regions"
        elif name.startswith("score_head."):
            found[name] = "score_head"
        elif name.startswith("pointer."):
            found[name] = "pointer"
        elif name.startswith("image_projector."):
            found[name] = "image_projector"
        elif id(parameter) in language:
            found[name] = "language_model"
        elif name.startswith("vlm."):
            found[name] = "vision"
    return found


def apply_stage(model: FO1ForConditionalGeneration, stage: Stage) -> dict[str, str]:
    """Freeze and thaw the model's parameters; return the group of each that learns, by its name.

    Raises:
        InputError: a group of the stage has no parameter in this model.
    """
    groups = group_of(model)
    learning = dict(_learning(model, stage, groups))
    missing = sorted(set(stage.learns) - set(learning.values()) - _OPTIONAL)
    if missing:
        raise InputError(
            f"stage {stage.name!r} trains {missing[0]!r}, which this model does not have"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
    return learning


def _learning(
    model: FO1ForConditionalGeneration, stage: Stage, groups: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for name, parameter in model.named_parameters():
        if groups.get(name) in stage.learns and parameter.is_floating_point():
            yield name, groups[name]


_OPTIONAL = {"score_head", "pointer", "auxiliary", "new_tokens"}
"""Groups that a model may lack: some models only write, some pool the host's maps alone."""
