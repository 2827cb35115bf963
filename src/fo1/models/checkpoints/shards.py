"""Tensors of safetensors files written again under other names, in one file or in shards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fo1.models.tensor_files import DTYPES, INDEX_FILE, SINGLE_FILE, TensorInfo


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
