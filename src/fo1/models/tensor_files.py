"""The files of a checkpoint: safetensors by their headers, tables of options, and whether all belongs together.

A header is read by hand, so that a damaged file can be told from a cut-off download and from a
git-lfs pointer, and so that nothing but the header is read.

Source: format of huggingface/safetensors (8 bytes of length, a JSON header, the data).
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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


def check_complete(info: Mapping[str, Any], name: str) -> None:
    """Check that tensors and options of a checkpoint agree.

    Args:
        info: what `from_pretrained(..., output_loading_info=True)` reported.
        name: the checkpoint, for the message.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; such a model would answer at random.
    """
    wrong = [f"{key} is missing" for key in sorted(info["missing_keys"])]
    wrong += [f"{key} is left over" for key in sorted(info["unexpected_keys"])]
    wrong += [
        f"{key} has shape {list(found)}, need {list(needed)}"
        for key, found, needed in sorted(info["mismatched_keys"])
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{name}: {wrong[0]}{more}; config.json and the weights do not belong together, download both again"
        )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, complete or not at all."""
    index = folder / INDEX_FILE
    if index.exists():
        files = [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    else:
        files = [folder / SINGLE_FILE]
    for file in files:
        if not file.exists():
            raise CheckpointError(
                f"{file} is missing; download the checkpoint again, all files of it"
            )
    return files


def read_json(path: Path) -> dict[str, Any]:
    """Return the table of options in a JSON file.

    Raises:
        CheckpointError: the file is missing, no JSON or no table.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; give a folder that holds a checkpoint"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise CheckpointError(f"{path.name} is not valid JSON; download it again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path.name} holds no table of options; download it again")
    return found


def check_floating(stored: Mapping[str, TensorInfo]) -> None:
    """Check that weights are floating; single numbers, such as counters, may be of any type.

    Raises:
        CheckpointError: one is not.
    """
    for name, info in stored.items():
        if info.shape and not DTYPES[info.dtype].is_floating_point:
            raise CheckpointError(
                f"weights are stored as {info.dtype}; need floating point ({name}); download them again"
            )


def main_dtype(stored: Iterable[TensorInfo]) -> torch.dtype:
    """Return the floating type that most of the bytes have."""
    sizes: Counter[torch.dtype] = Counter()
    for info in stored:
        if DTYPES[info.dtype].is_floating_point:
            sizes[DTYPES[info.dtype]] += info.bytes
    return sizes.most_common(1)[0][0] if sizes else torch.float32


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
            if info.dtype not in DTYPES:
                raise _unsupported(file, name, info.dtype)
            if min(info.shape, default=0) < 0 or end - begin != info.bytes:
                raise ValueError(f"size of {name}")
            spans.append((begin, end))
            tensors[name] = info
        reached = 0
        for begin, end in sorted(spans):
            if begin != reached:
                raise ValueError(f"a gap at byte {reached}")
            reached = end
    except CheckpointError:
        raise
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


def _unsupported(file: Path, name: str, dtype: str) -> CheckpointError:
    return CheckpointError(
        f"{file.name}: dtype {dtype} of {name} is not supported; convert it to one of {', '.join(DTYPES)}"
    )


def _cut_off(file: Path, size: int, needed: int) -> CheckpointError:
    share = f"{size / needed:.0%} of {needed} bytes"
    return CheckpointError(f"{file.name} is cut off at {size}, {share}; download it again")
