"""Prints how much memory loading takes, over the size of the weights, in both layouts.

    python benchmarks/loading_memory.py [--folder /tmp/loading] [--layers 14]

A checkpoint with random bfloat16 weights is written in the published layout (about 1.2 GB: the
published widths of the vision encoder, a language model of width 1536 with `--layers` layers, tiny
auxiliary encoder), with the tokenizer of the parity fixtures, and converted to ours. Each load runs
in a fresh process (Linux only, /proc).

peak       highest resident memory while loading
anonymous  of what is resident behind it, the part that is no view of a file: the system can drop
           views and read them again, this it can't
in use     resident once every weight was read

All less what the process had after its imports, over the size of the model in memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parent.parent / "tests/parity/fixtures/VLM-FO1_Qwen2.5-VL-tiny"
SHARD = 500_000_000
CASES = (
    ("published", "bfloat16", {}),
    ("published", "float32", {}),
    ("published", "bfloat16", {"device_map": "cpu"}),
    ("ours", "bfloat16", {}),
    ("ours", "float32", {}),
    ("ours", "bfloat16", {"device_map": "cpu"}),
)


def make(folder: Path, layers: int) -> Path:
    """Write the published checkpoint and return where it lies."""
    import torch
    from safetensors.torch import save_file

    from fo1.models import FO1ForConditionalGeneration
    from fo1.models.published.names import our_name_to_published
    from fo1.models.published.reading import published_config

    out = folder / "published"
    shutil.copytree(FIXTURE, out)
    (out / "model.safetensors").unlink()
    raw: dict[str, Any] = json.loads((out / "config.json").read_text())
    raw |= {
        "vocab_size": 32768,
        "hidden_size": 1536,
        "intermediate_size": 6144,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "mm_hidden_size": 1536,
        "mm_simple_fpn_out_channels": 512,
        "mm_region_hidden_size": 240 + 2048,
    }
    raw["rope_scaling"]["mrope_section"] = [16, 24, 24]
    raw["vision_config"] |= {
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 1536,
    }
    (out / "config.json").write_text(json.dumps(raw))
    config = published_config(out)
    with torch.device("meta"):
        model = FO1ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(0)
    place: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    size = number = 0

    def flush() -> None:
        nonlocal shard, size, number
        number += 1
        name = f"model-{number:05}.safetensors"
        save_file(shard, out / name, metadata={"format": "pt"})
        place.update(dict.fromkeys(shard, name))
        shard, size = {}, 0

    for ours, tensor in model.state_dict().items():
        if ours == "vlm.lm_head.weight":  # tied
            continue
        drawn = torch.randn(tensor.shape, generator=generator).mul_(0.02).bfloat16()
        shard[our_name_to_published(ours, config)] = drawn
        size += drawn.nbytes
        if size > SHARD:
            flush()
    flush()
    index = {"metadata": {}, "weight_map": place}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    return out


def status(*keys: str) -> list[int]:
    """Return figures of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return [int(values[key].split()[0]) * 1024 for key in keys]


def load(folder: str, dtype: str, options: dict[str, Any]) -> dict[str, float]:
    """Load once in this process and return what it took."""
    import torch

    from fo1.models import FO1ForConditionalGeneration

    FO1ForConditionalGeneration.from_pretrained(FIXTURE)  # the library's own late imports
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, idle = status("VmRSS", "RssAnon")
    start = time.perf_counter()
    model = FO1ForConditionalGeneration.from_pretrained(
        folder, dtype=getattr(torch, dtype), **options
    )
    seconds = time.perf_counter() - start
    peak, anonymous = status("VmHWM", "RssAnon")
    held = sum(p.nbytes for p in model.parameters())
    touched = sum(float(p.sum()) for p in model.parameters())  # reads all of it once
    (after,) = status("VmRSS")
    return {
        "held": held,
        "peak": peak - before,
        "anonymous": anonymous - idle,
        "after": after - before,
        "seconds": seconds,
        "touched": touched,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("/tmp/loading"))
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        folder, dtype, options = arguments.load
        print(json.dumps(load(folder, dtype, json.loads(options))))
        return
    from fo1.models.checkpoints.convert import convert

    shutil.rmtree(arguments.folder, ignore_errors=True)
    published = make(arguments.folder, arguments.layers)
    ours = convert(published, arguments.folder / "ours", shard_bytes=SHARD).folder
    folders = {"published": published, "ours": ours}
    stored = sum(file.stat().st_size for file in published.glob("*.safetensors"))
    print(f"stored: {stored / 1e9:.2f} GB, bfloat16\n")
    print("| layout | dtype | options | model GB | peak | anonymous | in use | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for layout, dtype, options in CASES:
        command = [sys.executable, __file__, "--load", str(folders[layout]), dtype]
        command.append(json.dumps(options))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        held = found["held"]
        told = ", ".join(f"{k}={v}" for k, v in options.items()) or "-"
        print(
            f"| {layout} | {dtype} | {told} | {held / 1e9:.2f} | {found['peak'] / held:.2f} "
            f"| {found['anonymous'] / held:.2f} | {found['after'] / held:.2f} | {found['seconds']:.1f} |"
        )


if __name__ == "__main__":
    main()
