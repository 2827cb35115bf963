"""Safetensors files: what their headers say, and tensors written again under other names.

A header is read by hand, so that a damaged file can be told from a cut-off download and from a
git-lfs pointer, and so that nothing but the header is read.

Source: format of huggingface/safetensors (8 bytes of length, a JSON header, the data).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fo1.errors import CheckpointError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
LONGEST_HEADER = 100_000_000
POINTER_START = b"version https://git-lfs.github.com/spec/"

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as a header describes it.

    Attributes:
        file: where it lies.
        dtype: of its elements, a key of `DTYPES`.
        shape: its sizes.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much of the file it takes."""
        return self.elements * DTYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to be written.

    Attributes:
        name: what it is called in the new file.
        source: what it is called in the old one.
        info: where that lies.
    """

    name: str
    source: str
    info: TensorInfo


def is_pointer(file: Path) -> bool:
    """Return whether a file is what git leaves in place of a large file that was not downloaded."""
    with file.open("rb") as stream:
        return stream.read(len(POINTER_START)) == POINTER_START


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Return the tensors of a safetensors file by name; the data is not read.

    Raises:
        CheckpointError: the file is missing, a pointer, cut off, too long or no safetensors file.
    """
    if not file.is_file():
        raise CheckpointError(f"{file.name} is missing; download it")
    size = file.stat().st_size
    if is_pointer(file):
        raise CheckpointError(
            f"{file.name} is a git-lfs pointer of {size} bytes, not the weights; run: git lfs pull"
        )
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > LONGEST_HEADER:
            raise CheckpointError(
                f"{file.name} ({size} bytes) is no safetensors file; download it again"
            )
        text = stream.read(length)
    if len(text) < length:
        raise _cut_off(file, size, 8 + length)
    tensors, end = _parse(file, text)
    needed = 8 + length + end
    if size < needed:
        raise _cut_off(file, size, needed)
    if size > needed:
        raise CheckpointError(
            f"{file.name} has {size} bytes, its header tells of {needed}; download it again"
        )
    return tensors


def write_shards(
    folder: Path, entries: Sequence[Entry], shard_bytes: int, dtype: torch.dtype | None = None
) -> list[Path]:
    """Return the files written: one, or shards with an index; one shard is in memory at a time.

    Args:
        folder: where to.
        entries: the tensors, bit for bit unless `dtype` is given.
        shard_bytes: largest size of a file; a tensor is never divided.
        dtype: what floating tensors are cast to.
    """
    sizes = [written_bytes(entry.info, dtype) for entry in entries]
    shards = _divide(entries, sizes, shard_bytes)
    count = len(shards)
    place: dict[str, str] = {}
    files = []
    for number, shard in enumerate(shards, 1):
        name = SINGLE_FILE if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"
        place |= {entry.name: name for entry in shard}
        save_file(_read(shard, dtype), folder / name, metadata={"format": "pt"})
        (folder / name).chmod(folder.stat().st_mode & 0o666)  # it is made for its owner alone
        files.append(folder / name)
    if count > 1:
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": dict(sorted(place.items()))}
        file = folder / INDEX_FILE
        file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        files.append(file)
    return files


def _parse(file: Path, text: bytes) -> tuple[dict[str, TensorInfo], int]:
    """Return the tensors of a header and where their data ends."""
    try:
        header: Any = json.loads(text)
        if not isinstance(header, dict):
            raise ValueError("no object")
        header.pop("__metadata__", None)
        spans = []
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            info = TensorInfo(file, str(entry["dtype"]), tuple(map(int, entry["shape"])))
            if min(info.shape, default=0) < 0 or end - begin != info.bytes:
                raise ValueError(f"size of {name}")
            spans.append((begin, end))
            tensors[name] = info
        reached = 0
        for begin, end in sorted(spans):
            if begin != reached:
                raise ValueError(f"a gap at byte {reached}")
            reached = end
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"the header of {file.name} is damaged ({reason}); download it again"
        ) from error
    return tensors, reached


def _cut_off(file: Path, size: int, needed: int) -> CheckpointError:
    share = f"{size / needed:.0%} of {needed} bytes"
    return CheckpointError(f"{file.name} is cut off at {size}, {share}; download it again")


def written_bytes(info: TensorInfo, dtype: torch.dtype | None) -> int:
    """Return how much a tensor takes when it is written."""
    return info.elements * _target(DTYPES[info.dtype], dtype).itemsize


def _target(stored: torch.dtype, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and stored.is_floating_point else stored


def _divide(entries: Sequence[Entry], sizes: Sequence[int], limit: int) -> list[list[Entry]]:
    shards: list[list[Entry]] = [[]]
    filled = 0
    for entry, size in zip(entries, sizes, strict=True):
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(entry)
        filled += size
    return shards


def _read(entries: Sequence[Entry], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Return tensors by their new names."""
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted({entry.info.file for entry in entries}):
        with safe_open(file, framework="pt") as stored:
            for entry in entries:
                if entry.info.file == file:
                    tensor = stored.get_tensor(entry.source)
                    tensors[entry.name] = tensor.to(_target(tensor.dtype, dtype)).contiguous()
    return tensors
