"""Prints where the time of a first question goes: the packaged model, proposals included.

    OMP_NUM_THREADS=2 python benchmarks/end_to_end.py [PICTURE ...] [--names 5] [--boxes 50] [--size 640 480]

A fresh process imports, loads and asks once (`--fresh` of them, the best and the median are printed); then this
process asks again and again, each time proposing and encoding anew, the same names about `--boxes` proposals.
Parts are timed from the outside, by a clock around the methods that do them; what is left of a step is its "rest".
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
NAMES = ("cup", "dog", "chair", "car", "book", "lamp", "bird", "tree", "door", "person")
PARTS = (
    *("propose", "pixels", "host vision", "pyramid", "auxiliary encoder", "pooling", "projector"),
    *("encode, rest", "language prefix", "branches and score head", "selection and rest"),
)


class Clock:
    """Seconds of parts; a part inside another part is not counted twice."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time until the end as that of a part."""
        begun = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            self.seconds[name] += took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took

    def around(self, owner: Any, method: str, name: str) -> Any:
        """Return a patch that times a method."""
        inner = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return inner(*args, **options)

        return patch.object(owner, method, timed)


def watch(clock: Clock, model: Any, stack: ExitStack) -> None:
    """Put the clock around the parts of a model."""
    from fo1.pipeline import engine

    whole = model.engine.model
    encoder = whole.region_encoder
    for owner, method, name in (
        (model.engine.processor, "prepare_pictures", "pixels"),
        (type(whole.family), "encode_images", "host vision"),
        (encoder, "host_levels", "pyramid"),
        (encoder.auxiliary, "forward", "auxiliary encoder"),
        (encoder, "pool_auxiliary", "pooling"),
        (encoder, "pool_host", "pooling"),
        (encoder, "fuse", "projector"),
        (encoder, "project", "projector"),
        (engine, "read_prefix", "language prefix"),
        (engine, "continue_prefix", "branches and score head"),
        (whole, "score_branches", "branches and score head"),
    ):
        stack.enter_context(clock.around(owner, method, name))


def ask(model: Any, image: Any, names: list[str], boxes: int) -> dict[str, float]:
    """Return the seconds of each part of one question."""
    clock = Clock()
    with ExitStack() as stack:
        watch(clock, model, stack)
        with clock.part("propose"):
            proposals = model.propose(image, limit=boxes)
        with clock.part("encode, rest"):
            scene = model.encode(image, proposals)
        with clock.part("selection and rest"):
            scene.detect(names)
    return dict(clock.seconds)


def open_pictures(paths: list[Path], size: tuple[int, int]) -> list[Any]:
    """Return RGB pictures of one size."""
    from PIL import Image

    return [Image.open(path).convert("RGB").resize(size) for path in paths]


def fresh(options: argparse.Namespace) -> None:
    """Print, as JSON, the seconds of import, loading and the first question of this process."""
    begun = time.perf_counter()
    from fo1 import FO1

    imported = time.perf_counter()
    model = FO1.from_pretrained()
    loaded = time.perf_counter()
    image = open_pictures(options.pictures[:1], options.size)[0]
    parts = ask(model, image, list(NAMES[: options.names]), options.boxes)
    print(json.dumps({"import": imported - begun, "load": loaded - imported, **parts}))


def run_fresh(count: int) -> list[dict[str, float]]:
    """Return what fresh processes say, asked with the words of this one."""
    command = [sys.executable, *sys.argv, "--inside"]
    return [json.loads(subprocess.check_output(command)) for _ in range(count)]


def table(
    first: list[dict[str, float]], warm: list[dict[str, float]], middle: Callable[..., float]
) -> None:
    """Print the table of parts."""
    total = middle([sum(row.values()) for row in warm])
    print("| part | first call ms | warm ms | best | share of warm |\n|---|---|---|---|---|")
    for part in PARTS:
        once = 1000 * middle([row.get(part, 0.0) for row in first])
        rows = [row.get(part, 0.0) for row in warm]
        mean = middle(rows)
        print(
            f"| {part} | {once:.1f} | {1000 * mean:.1f} | {1000 * min(rows):.1f} | {100 * mean / total:.1f} % |"
        )
    asked = [sum(row.get(part, 0.0) for part in PARTS) for row in first]
    best = min(sum(row.values()) for row in warm)
    print(
        f"| **whole** | {1000 * middle(asked):.1f} | {1000 * total:.1f} | {1000 * best:.1f} | 100 % |"
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="*", default=sorted(PHOTOS.glob("*.jpg")))
    parser.add_argument("--names", type=int, default=5)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480))
    parser.add_argument("--fresh", type=int, default=5, help="fresh processes")
    parser.add_argument("--repeats", type=int, default=15, help="warm questions per picture")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.size = tuple(options.size)
    if options.inside:
        fresh(options)
        return
    first = run_fresh(options.fresh)
    import torch

    from fo1 import FO1

    model = FO1.from_pretrained()
    images = open_pictures(options.pictures, options.size)
    names = list(NAMES[: options.names])
    warm = [
        ask(model, image, names, options.boxes)
        for repeat in range(options.repeats + 2)
        for image in images
    ]
    width, height = options.size
    print(
        f"{datetime.date.today()}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32; {len(images)} pictures "
        f"at {width} x {height}, {options.boxes} proposals, {len(names)} names\n"
    )
    table(first, warm[2 * len(images) :], statistics.median)
    print("\n| fresh process | seconds | best |\n|---|---|---|")
    both = [{**row, "import and load": row["import"] + row["load"]} for row in first]
    for name in ("import", "load", "import and load"):
        values = [row[name] for row in both]
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |")


if __name__ == "__main__":
    main()
