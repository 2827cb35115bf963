"""Hooks by which hosts record their layers: put on when layers are first asked for, and then in the way of pickle."""

import copy

from transformers import PreTrainedModel

from fo1.errors import InputError

_RECORDERS = "transformers.utils.output_capturing"
_INSTALLED = "_output_capturing_hooks_installed"


def without_recorders(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model of the same tensors that pickle takes; it puts the hooks on again when it needs them.

    Raises:
        InputError: the model is spread over devices, by hooks that are no part of it.
    """
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        raise InputError(
            "a model that a device_map spreads over devices cannot be copied or pickled; "
            "load it where it is needed, with FO1.from_pretrained"
        )
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    for module in twin.modules():
        vars(module).pop(_INSTALLED, None)
        for key, hook in list(module._forward_hooks.items()):
            if getattr(hook, "__module__", None) == _RECORDERS:
                del module._forward_hooks[key]
    return twin
