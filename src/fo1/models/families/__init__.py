"""Registry of host families; adding one is one file and one line here."""

from collections.abc import Mapping
from typing import Final

from fo1.errors import CheckpointError
from fo1.models.families.base import HostFeatures, VLMFamily
from fo1.models.families.llava import Llava
from fo1.models.families.qwen2_5_vl import Qwen2_5_VL
from fo1.models.families.qwen2_5_vl_tracing import Qwen2_5_VLTracing
from fo1.models.families.qwen3_5 import Qwen3_5
from fo1.models.families.qwen3_vl import Qwen3VL
from fo1.models.families.tracing import Tracing

FAMILIES: Mapping[str, VLMFamily] = {
    family.model_type: family for family in (Qwen2_5_VL(), Qwen3_5(), Qwen3VL(), Llava())
}

TRACINGS: Mapping[str, Tracing] = {Qwen2_5_VL.model_type: Qwen2_5_VLTracing()}
"""Hosts that can be written as a graph."""

UNNAMED_FAMILY: Final = Qwen2_5_VL.model_type
"""The host of processors that name none: they were saved when there was no other."""

__all__ = [
    "FAMILIES",
    "TRACINGS",
    "UNNAMED_FAMILY",
    "HostFeatures",
    "Tracing",
    "VLMFamily",
    "get_family",
]


def get_family(model_type: str) -> VLMFamily:
    """Return the adapter for a host's `config.model_type`."""
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"no adapter for host family {model_type!r}; known families: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]
