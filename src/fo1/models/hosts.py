"""A host once more, with one part exchanged: all else is shared, and the host itself stays as it is.

Threads that share a model each get their own copy, so nothing is hooked into the host.
"""

import inspect
from typing import Any

from torch import Tensor


def copy_host(vlm: Any) -> Any:
    """Return the host with the same parts in a list of its own."""
    shared = object.__new__(type(vlm))
    shared.__dict__.update(vlm.__dict__)
    # What spreads a model over devices wraps the host's own forward; the parts are wrapped each for itself.
    shared.__dict__.pop("forward", None)
    shared._modules = dict(vlm._modules)
    return shared


def embedding_host(vlm: Any) -> Any:
    """Return a host whose `generate` takes embeddings; the host itself where it does already."""
    prepare = vlm.prepare_inputs_for_generation
    if "inputs_embeds" in inspect.signature(prepare).parameters:
        return vlm

    def taking(input_ids: Tensor, inputs_embeds: Tensor | None = None, **kwargs: Any) -> Any:
        return prepare(input_ids, inputs_embeds=inputs_embeds, **kwargs)

    shared = copy_host(vlm)
    shared.prepare_inputs_for_generation = taking
    return shared
