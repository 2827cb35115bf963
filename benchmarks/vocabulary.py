"""Vocabularies of thousands and regions by the thousand: seconds, pairs a second, memory.

    OMP_NUM_THREADS=2 python benchmarks/vocabulary.py

nano answers which of N regions show each of K names, in chunks of names behind prefixes of at most 100 regions. Beside
it stands the simple way: one name at a time behind the same kept prefixes, timed on some of the names. Both give the
same probabilities (last column). Each row is measured in a process of its own, so its memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from PIL import Image

from fo1 import FO1
from fo1.pipeline.loading import packaged_folder

SHAPES = ((80, 100), (1203, 100), (80, 1000), (1203, 1000))
"""(names, regions): COCO's and LVIS' numbers of categories."""
SINGLE = 20
"""Names that are asked one at a time."""
SIZE = (640, 480)


def boxes_of(count: int) -> np.ndarray:
    """Return (N, 4) boxes of all sizes inside the picture."""
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(24), np.log(320), (count, 2)))
    corners = rng.random((count, 2)) * (np.array(SIZE) - sides)
    return np.concatenate([corners, corners + sides], 1).astype(np.float32)


def peak() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(names: int, regions: int) -> dict[str, float]:
    """Return the figures of one row."""
    known = (packaged_folder() / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]
    model = FO1.from_pretrained()
    picture = np.random.default_rng(1).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    scene = model.encode(Image.fromarray(picture), boxes_of(regions))
    scene.scores(known[:1])  # the prefixes are kept from here on
    begun = time.perf_counter()
    table = scene.scores(known[:names])
    seconds = time.perf_counter() - begun
    places = np.linspace(0, names - 1, SINGLE).astype(int)
    begun = time.perf_counter()
    columns = [scene.scores([known[place]]) for place in places]
    single = (time.perf_counter() - begun) / SINGLE * names
    apart = float(np.abs(np.concatenate(columns, 1) - table[:, places]).max())
    return {"seconds": seconds, "single": single, "peak": peak(), "apart": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(*options.row)))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(
        "| names x regions | seconds | pairs/s | one name at a time s | times | MiB at most | max difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for names, regions in SHAPES:
        command = [sys.executable, __file__, "--row", str(names), str(regions)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        cells = (
            f"{names:,} x {regions:,}",
            f"{row['seconds']:.2f}",
            f"{names * regions / row['seconds']:,.0f}",
            f"{row['single']:.1f}",
            f"{row['single'] / row['seconds']:.1f}",
            f"{row['peak']:.0f}",
            f"{row['apart']:.1e}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
