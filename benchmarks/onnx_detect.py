"""One picture through nano in torch, in onnxruntime and in headless Chromium: milliseconds a part, least of some runs.

fo1 convert nano out/nano-onnx --to onnx
OMP_NUM_THREADS=1 python benchmarks/onnx_detect.py out/nano-onnx --browser
"""

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fo1 import FO1
from fo1.onnx import OnnxModel

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/photos/coffee.jpg"
NAMES = ["cup", "dog", "spoon", "cat", "saucer"]
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def least(run: Callable[[], object], repeats: int) -> float:
    """Return milliseconds; a first run does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    return min(times)


def in_torch(repeats: int) -> Iterator[tuple[str, float]]:
    model = FO1.from_pretrained(device="cpu")
    proposals = model.propose(PHOTO)
    yield "boxes", least(lambda: model.propose(PHOTO), repeats)
    yield "encoding", least(lambda: model.encode(PHOTO, proposals), repeats)
    yield "all", least(lambda: model.detect(PHOTO, NAMES), repeats)


def in_onnxruntime(folder: Path, repeats: int) -> Iterator[tuple[str, float]]:
    start = time.perf_counter()
    model = OnnxModel(folder, threads=int(os.environ.get("OMP_NUM_THREADS", "0")) or None)
    yield "load", (time.perf_counter() - start) * 1000
    yield "boxes", least(lambda: model.propose(PHOTO), repeats)
    boxes = model.propose(PHOTO).boxes
    yield "encoding and scores", least(lambda: model.scores(PHOTO, boxes, NAMES), repeats)
    yield "all", least(lambda: model.detect(PHOTO, NAMES), repeats)


def in_chromium(folder: Path, repeats: int) -> Iterator[tuple[str, float]]:
    from playwright.sync_api import sync_playwright

    words: list[str | Path] = ["node", ROOT / "examples/web/serve.js", folder, "0"]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page: Any = browser.new_page()
        start = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        yield f"load ({page.text_content('#model')})", (time.perf_counter() - start) * 1000
        page.fill("#names", "; ".join(NAMES))
        rows = []
        for _ in range(repeats + 1):
            page.set_input_files("#picture", str(PHOTO))
            page.wait_for_selector("body[data-found]", timeout=120_000)
            rows.append(json.loads(page.get_attribute("body", "data-found"))["milliseconds"])
            page.evaluate("delete document.body.dataset.found")
        for name in rows[0]:
            yield name, min(row[name] for row in rows[1:])
        yield "all", min(sum(row.values()) for row in rows[1:])
        browser.close()
        server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    for file in sorted(arguments.folder.iterdir()):
        print(f"{file.name:24}{file.stat().st_size:>12,} bytes")
    runs = [("torch", in_torch(arguments.repeats))]
    runs.append(("onnxruntime", in_onnxruntime(arguments.folder, arguments.repeats)))
    if arguments.browser:
        runs.append(("chromium", in_chromium(arguments.folder, arguments.repeats)))
    for name, rows in runs:
        for part, milliseconds in rows:
            print(f"{name:12} {part:48} {milliseconds:8.0f} ms", flush=True)


if __name__ == "__main__":
    main()
