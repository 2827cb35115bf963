"""LoRA and QLoRA: peft's adapters in the linear layers of a host's language model, merged when it is saved."""

from typing import Any

import torch
from torch import nn

from fo1.errors import MissingExtraError
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training.stages import Adapter


def attach(model: FO1ForConditionalGeneration, adapter: Adapter) -> None:
    """Put adapters into the language model; at first they change nothing.

    Raises:
        MissingExtraError: peft, or for 4 bits bitsandbytes, is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("training adapters", "peft", "train") from error
    decoder = model.vlm.get_decoder()
    if adapter.four_bit:
        _to_four_bit(decoder)
    names = sorted(
        {n.rpartition(".")[2] for n, m in decoder.named_modules() if isinstance(m, nn.Linear)}
    )
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=names,
        bias="none",
    )
    inject_adapter_in_model(config, decoder)


@torch.no_grad()
def detach(model: FO1ForConditionalGeneration) -> None:
    """Add what adapters learned to the layers they stand in, and remove them; 4-bit layers become full again.

    The result computes what the trained model computed, with the rounding of 4 bits kept in its weights.
    """
    for module in list(model.vlm.get_decoder().modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "lora_A") and hasattr(child, "base_layer"):
                setattr(module, name, _merged(child))


def _merged(layer: Any) -> nn.Linear:
    base = layer.base_layer
    weight = _full(base)
    for active in layer.active_adapters:
        weight = weight + layer.get_delta_weight(active).to(weight)
    linear = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
    linear.weight = nn.Parameter(weight)
    if base.bias is not None:
        linear.bias = nn.Parameter(base.bias.detach().to(weight))
    return linear


def _full(base: Any) -> torch.Tensor:
    if type(base) is nn.Linear:
        return base.weight.detach()
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(base).detach()


def _to_four_bit(decoder: nn.Module) -> None:
    try:
        import bitsandbytes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("4-bit training", "bitsandbytes", "qlora") from error
    for module in list(decoder.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, _four_bit(child, bitsandbytes))


def _four_bit(linear: nn.Linear, library: Any) -> nn.Module:
    device, dtype = linear.weight.device, linear.weight.dtype
    made = library.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
    )
    made.weight = library.nn.Params4bit(
        linear.weight.detach().cpu(), requires_grad=False, quant_type="nf4", module=made
    )
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return made.to(device)
