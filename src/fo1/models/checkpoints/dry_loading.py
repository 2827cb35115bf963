"""What the library's loader makes of a checkpoint, from its headers alone.

The library may have stored a host's tensors under older names, so only its loader can tell what belongs where.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fo1.errors import CheckpointError
from fo1.models.configuration import FO1Config
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.tensor_files import DTYPES, TensorInfo


def load_headers(
    config: FO1Config, stored: Mapping[str, TensorInfo]
) -> tuple[FO1ForConditionalGeneration, dict[str, Any]]:
    """Return a model without memory, and which tensors were missing, unexpected or of another shape.

    Args:
        config: of the model.
        stored: tensors by names of ours.
    """
    empty = {
        name: torch.empty(info.shape, dtype=DTYPES[info.dtype], device="meta")
        for name, info in stored.items()
    }
    return _load(config, empty, device_map="meta")


def our_names(config: FO1Config, stored: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Return what the model calls each stored tensor of a complete checkpoint.

    Args:
        config: of the model.
        stored: tensors by the names in the files.

    Raises:
        CheckpointError: a tensor is not taken over as it is.
    """
    # One number each, seen in the tensor's shape: the memory behind a parameter tells where it came from.
    numbers = {name: torch.zeros(()) for name in stored}
    views = {name: numbers[name].expand(stored[name].shape) for name in stored}
    model, _ = _load(config, views, dtype=torch.float32)
    # Once each: of a tied pair the one that the other follows.
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    place = {tensor.data_ptr(): name for name, tensor in tensors.items()}
    # A stored copy of a tied tensor is passed over, and an empty one has no memory: both keep their names.
    names = {name: place.get(number.data_ptr(), name) for name, number in numbers.items()}
    state = model.state_dict()
    lost = sorted(name for name, ours in names.items() if ours not in state)
    if lost:
        raise CheckpointError(
            f"tensor {lost[0]!r} is not taken over as it is; this version cannot convert it"
        )
    return names


def _load(config: FO1Config, state: dict[str, Tensor], **options: Any) -> Any:
    # Past our own `from_pretrained`, which stops at the first fault.
    loader: Any = super(FO1ForConditionalGeneration, FO1ForConditionalGeneration)
    return loader.from_pretrained(
        None,
        config=config,
        state_dict=state,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
