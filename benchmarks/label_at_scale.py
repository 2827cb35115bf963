"""Labels many pictures twice, once killed with SIGKILL on the way, and compares all files byte for byte.

    python benchmarks/label_at_scale.py OUT --case nano                500 drawn scenes, the packaged model
    python benchmarks/label_at_scale.py OUT --case tiny                10,000 small pictures, a tiny random model
    python benchmarks/label_at_scale.py OUT --case tiny --ray          the same with Ray Data as a third run

A kill takes the command's first process alone or, every second time, all of them. Memory is the sum of what the
processes of a run have resident, sampled twice a second: its peak in the first quarter of the pictures and in all.
Linux only (/proc). OUT/pictures and finished runs are used again.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # tests.tiny
FORMATS = "coco,yolo,labelme,voc,jsonl,parquet"
PAGE = os.sysconf("SC_PAGE_SIZE")


def draw_scenes(folder: Path, count: int) -> list[str]:
    """Draw the pictures and return the names of all things in them."""
    from fo1.data.pictures import PicturePack
    from fo1.data.scenes import SceneGenerator

    pack = PicturePack.open()
    concepts = [slug for slug in sorted(pack.concepts) if slug not in pack.held_out][:20]
    draw = SceneGenerator(pack, concepts=concepts, solids=0.0)
    for number in range(count):
        path = folder / f"{number // 100:03}" / f"{number:06}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(11, number).image.save(path, quality=90)
    return sorted(draw.concepts[slug].name for slug in concepts)


def draw_patches(folder: Path, count: int) -> list[str]:
    from tests import tiny

    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            tiny.picture(48 + number % 49, 48 + number % 31, seed=number).save(path)
    return ["cat", "dog", "cup"]


def tiny_model(folder: Path) -> Path:
    from tests import tiny

    if not (folder / "config.json").exists():
        tiny.make_model(score=True).save_pretrained(folder)
        tiny.make_processor().save_pretrained(folder)
    return folder


class Memory:
    """Resident memory of a group of processes, MiB."""

    def __init__(self, group: int) -> None:
        self.group, self.early, self.peak = group, 0.0, 0.0

    def sample(self, *, early: bool) -> None:
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    total += int(fields[21]) * PAGE
            except (OSError, IndexError):
                continue
        self.peak = max(self.peak, total / 2**20)
        if early:
            self.early = max(self.early, total / 2**20)


def rows_in(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("parts/*/*.jsonl"))


def start(words: list[str], out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fo1", "label", *words, "--out", str(out)],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def follow(
    words: list[str], out: Path, count: int, until: Callable[[int], bool]
) -> tuple[subprocess.Popen[bytes], Memory]:
    """Run the command until it ends or has so many rows."""
    process = start(words, out)
    memory, rows, looked = Memory(process.pid), 0, 0.0
    while process.poll() is None:
        if time.monotonic() - looked > 5 or count < 2000:
            rows, looked = rows_in(out), time.monotonic()
        memory.sample(early=rows < count / 4)
        if until(rows):
            break
        time.sleep(0.5)
    return process, memory


def whole(words: list[str], out: Path, count: int) -> None:
    begun = time.monotonic()
    process, memory = follow(words, out, count, lambda rows: False)
    seconds = time.monotonic() - begun
    print(
        f"{out.name}: status {process.returncode}, {rows_in(out):,} rows, {seconds:.0f} s, "
        f"{count / seconds:.2f} pictures per second, "
        f"peak {memory.early:.0f} MiB in the first quarter, {memory.peak:.0f} MiB in all",
        flush=True,
    )
    assert process.returncode == 0


def killed(words: list[str], out: Path, count: int, kills: int) -> None:
    for number in range(kills):
        least = count * (number + 1) // (kills + 1)
        process, _ = follow(words, out, count, lambda rows, least=least: rows >= least)
        assert process.poll() is None, "it ended before it was killed"
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        print(f"{out.name}: killed, {rows_in(out):,} rows left", flush=True)
    whole(words, out, count)


def contents(out: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path).encode()
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", choices=("nano", "tiny"), default="nano")
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    nano = args.case == "nano"
    count = args.pictures or (500 if nano else 10_000)
    out = args.out / args.case
    pictures = out / "pictures"
    names = (draw_scenes if nano else draw_patches)(pictures, count)
    model = "nano" if nano else str(tiny_model(out / "model"))
    words = [str(pictures), "-q", ";".join(names), "--model", model, "--format", FORMATS]
    words += ["--batch-size", "8", "--processes", str(args.processes)]
    words += [] if nano else ["--proposer", "grid"]
    runs = [out / "uninterrupted", out / "killed"]
    if not (runs[0] / "summary.json").exists():
        whole(words, runs[0], count)
    if not (runs[1] / "summary.json").exists():
        killed(words, runs[1], count, args.kills)
    if args.ray:
        runs.append(out / "ray")
        whole([*words, "--ray"], runs[-1], count)
    first = contents(runs[0])
    for other in runs[1:]:
        there = contents(other)
        differ = [name for name in {*first, *there} if first.get(name) != there.get(name)]
        total = sum(map(len, first.values()))
        told = f"differ in {sorted(differ)[:5]}" if differ else "equal"
        print(f"{other.name}: {len(first):,} files, {total:,} bytes: {told}", flush=True)
        assert not differ


if __name__ == "__main__":
    main()
