"""Checkpoints whose weights are drawn, not stored: the same numbers wherever they are drawn.

Legend: a case is an entry of fixtures/options/cases.json.
"""

import json
import math
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FIXTURES = Path(__file__).parent / "fixtures"
MAIN = FIXTURES / "VLM-FO1_Qwen2.5-VL-tiny"
CASES_FILE = FIXTURES / "options/cases.json"
WRITERS = ("o_proj.weight", "down_proj.weight")


def draw(case: str, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the tensor of a published name; numpy keeps this generator's numbers for ever."""
    seed = zlib.crc32(f"{case} {name}".encode())
    noise = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        return 1 + np.float32(0.15) * noise if name.endswith("weight") else np.float32(0.1) * noise
    if "embed_tokens" in name:
        return np.float32(0.5) * noise
    gain = 1.0
    if name.startswith("model.layers.") and name.endswith(WRITERS):
        gain = 5.0  # what the language model adds has to outweigh the last word
    elif name.startswith("model.vision_tower_aux."):
        gain = 0.6  # deep maps would otherwise grow until rounding shows
    elif name.startswith("model.mm_projector"):
        gain = 1.5
    return noise * np.float32(gain / math.sqrt(math.prod(shape[1:])))


def changed(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return options with changes: null removes one, a table changes what stands in it."""
    result = dict(raw)
    for key, value in changes.items():
        if value is None:
            del result[key]
        elif isinstance(value, dict):
            result[key] = result[key] | value
        else:
            result[key] = value
    return result


def write_config(changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Copy the main checkpoint without its weights, with other options; return these."""
    shutil.copytree(MAIN, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    raw = changed(json.loads((MAIN / "config.json").read_text()), changes)
    (folder / "config.json").write_text(json.dumps(raw))
    return raw
