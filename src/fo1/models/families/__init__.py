"""Registry of host families; adding one is one file and one line here."""

from collections.abc import Mapping, MutableMapping
from typing import Final

from fo1.errors import CheckpointError, InputError
from fo1.models.families.base import HostFeatures, VLMFamily
from fo1.models.families.gemma3 import Gemma3
from fo1.models.families.idefics3 import Idefics3, SmolVLM
from fo1.models.families.internvl import InternVL
from fo1.models.families.llava import Llava
from fo1.models.families.llava_onevision import LlavaOnevision
from fo1.models.families.plain import PlainFamily
from fo1.models.families.qwen2_5_vl import Qwen2_5_VL
from fo1.models.families.qwen2_5_vl_tracing import Qwen2_5_VLTracing
from fo1.models.families.qwen3_5 import Qwen3_5
from fo1.models.families.qwen3_vl import Qwen3VL
from fo1.models.families.tracing import Tracing

_OWN = (
    *(Qwen2_5_VL(), Qwen3_5(), Qwen3VL(), Llava(), LlavaOnevision()),
    *(InternVL(), Gemma3(), Idefics3(), SmolVLM()),
)
FAMILIES: MutableMapping[str, VLMFamily] = {family.model_type: family for family in _OWN}
"""All that are known; `register_family` adds to them."""

TRACINGS: Mapping[str, Tracing] = {Qwen2_5_VL.model_type: Qwen2_5_VLTracing()}
"""Hosts that can be written as a graph."""

UNNAMED_FAMILY: Final = Qwen2_5_VL.model_type
"""The host of processors that name none: they were saved when there was no other."""

__all__ = [
    "FAMILIES",
    "TRACINGS",
    "UNNAMED_FAMILY",
    "HostFeatures",
    "PlainFamily",
    "Tracing",
    "VLMFamily",
    "get_family",
    "register_family",
]


def register_family(family: VLMFamily) -> None:
    """Make a family known, before models or processors of its hosts are made or loaded.

    Args:
        family: an adapter of your own, keyed on its `model_type`.

    Raises:
        InputError: there is another family of this name.
    """
    known = FAMILIES.setdefault(family.model_type, family)
    if type(known) is not type(family):
        raise InputError(
            f"host family {family.model_type!r} has an adapter, {type(known).__name__}; "
            "give yours the model_type of another host"
        )


def get_family(model_type: str) -> VLMFamily:
    """Return the adapter for a host's `config.model_type`."""
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"no adapter for host family {model_type!r}; known families: {', '.join(sorted(FAMILIES))}; "
            "give one of your own to fo1.models.register_family first"
        )
    return FAMILIES[model_type]
