"""What answering pictures of mixed sizes together saves, and how much memory it takes.

    OMP_NUM_THREADS=2 python benchmarks/batch.py

The packaged model on a CPU: `model.detect(pictures, names)` one at a time against `batch_size` at a time, proposals,
decoding of files and all else included; the results are compared. The rates come from one process in which the sizes
take turns. Memory is resident memory, looked at every 5 ms in a process of its own per size.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fo1 import FO1

NAMES = ["cup", "dog", "person", "clock", "book"]
SIZES = (
    (640, 480),
    (480, 640),
    (600, 400),
    (800, 500),
    (320, 320),
    (1024, 768),
    (500, 800),
    (427, 640),
)
LIMIT = 50


def make_pictures(photos: list[Path], folder: Path) -> list[Path]:
    """Write one picture per size, cut from photographs."""
    files: list[Path] = []
    for place, size in enumerate(SIZES):
        photo = Image.open(photos[place % len(photos)]).convert("RGB")
        file = folder / f"{place}.jpg"
        photo.resize(size, Image.Resampling.BICUBIC).save(file, quality=92)
        files.append(file)
    return files


def rates(files: list[Path], sizes: list[int], repeats: int) -> None:
    """Print pictures a second of every batch size, and whether all say the same."""
    model = FO1.from_pretrained()
    times: dict[int, list[float]] = {size: [] for size in sizes}
    found = {}
    for turn in range(repeats + 1):
        for size in sizes:
            begun = time.perf_counter()
            found[size] = model.detect(files, NAMES, batch_size=size, limit=LIMIT)
            if turn:
                times[size].append(time.perf_counter() - begun)
    single = statistics.median(times[1])
    print("| batch | pictures/s | times one at a time | best of each | largest change of a score |")
    print("|---|---|---|---|---|")
    for size in sizes:
        seconds = statistics.median(times[size])
        change = max(
            float(np.abs(one.scores - other.scores).max(initial=0)) if len(one) == len(other) else 1
            for one, other in zip(found[1], found[size], strict=True)
        )
        best = min(times[1]) / min(times[size])
        row = (len(files) / seconds, single / seconds, best)
        print(f"| {size} | {row[0]:.2f} | {row[1]:.2f} | {row[2]:.2f} | {change:.1e} |", flush=True)


def resident() -> float:
    """Return the MiB that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def memory(files: list[Path], size: int) -> None:
    """Print the MiB of the model with a first picture, and what one batch adds at its highest."""
    model = FO1.from_pretrained()
    model.detect(files[4], NAMES, limit=LIMIT)
    before = highest = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    model.detect(files, NAMES, batch_size=size, limit=LIMIT)
    done.set()
    watcher.join()
    print(f"| {size} | {before:.0f} | {highest - before:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=Path("examples/photos"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        memory(sorted(options.folder.glob("*.jpg")), options.memory_of)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = make_pictures(sorted(options.photos.glob("*.jpg")), Path(folder))
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(files)} pictures\n"
        )
        rates(files, options.sizes, options.repeats)
        print(
            "\n| batch | MiB with model and one picture | MiB more at the highest |\n|---|---|---|",
            flush=True,
        )
        for size in options.sizes:
            words = ["--memory-of", str(size), "--folder", folder]
            subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
