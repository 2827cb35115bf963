"""Measures nano and writes docs/nano.md: every table by the command above it.

    python recipes/nano/measure.py --photos photos/open.json --out OUT

Runs that were stopped, or are through, are gone on with: only what is missing in OUT is asked. What
stands above the first generated section of docs/nano.md is kept.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fo1 import FO1
from fo1.evaluation.detection.photo_set import load_photo_set
from fo1.geometry import box_iou

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/nano.md"
BEGIN = "<!-- everything below is written by recipes/nano/measure.py -->"

SCENES = "Scenes in a drawing lineage that training never saw"
PHOTOS = "Photographs (open set: 30 photos, 142 boxes, 56 names asked of every photo)"
ALL = ("--floors", "--causal")
RUNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (SCENES, "scenes", ("scenes", "--limit", "60", *ALL)),
    (SCENES, "new-concepts", ("scenes-new-concepts", "--limit", "30", "--floors")),
    (SCENES, "written", ("scenes", "--limit", "20", "--written")),
    (PHOTOS, "photos", ("photos", "--data", "PHOTOS", *ALL)),
    (PHOTOS, "true", ("photos", "--data", "PHOTOS", "--proposals", "true", *ALL)),
    *(
        (PHOTOS, name, ("photos", "--data", "PHOTOS", "--proposals", name, "--floors"))
        for name in ("nanodet", "ssd", "selective-search")
    ),
    (PHOTOS, "hallucination", ("hallucination", "--data", "PHOTOS", "--floors")),
    (PHOTOS, "relations", ("relations", "--data", "PHOTOS", "--limit", "10", *ALL)),
)
SHORT = ("nanodet", "ssd", "selective-search")
"""Runs of which the first table says enough."""
TEN = (
    *(("o005", "cup", "dog"), ("o004", "cat", "lion"), ("o010", "motorcycle", "cat")),
    *(("o022", "laptop", "dog"), ("o021", "person", "dog"), ("o001", "dog", "cat")),
    *(("o018", "butterfly", "car"), ("o009", "person", "bicycle"), ("o020", "lion", "car")),
    ("o024", "book", "cat"),
)


def run(words: tuple[str, ...], photos: Path, out: Path) -> str:
    """Return the report of one `fo1 eval`, headings two levels down."""
    given = [str(photos) if word == "PHOTOS" else word for word in words]
    command = [sys.executable, "-m", "fo1", "eval", *given, "--out", str(out)]
    print("$", shlex.join(command[2:]), flush=True)
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(f"exit status {status}")
    text = (out / "report.md").read_text(encoding="utf-8")
    text = text.replace(str(photos), "open.json").replace(str(out.parent), "OUT")
    if out.name in SHORT:
        text = "\n###".join(text.split("\n###")[:2])
    return re.sub(r"^##", "###", text, flags=re.M)


def ten_photographs(photos: Path) -> Iterator[str]:
    """Yield the lines of a table: one clear thing and one absent name a photo."""
    yield "| photo | asked | best score | IoU | absent name | answer |"
    yield "|---|---|---|---|---|---|"
    found, model = load_photo_set(photos), FO1.from_pretrained()
    by_stem = {photo.path.stem: photo for photo in found.photos}
    for stem, name, absent in TEN:
        photo = by_stem[stem]
        got = model.detect(photo.path, [name, absent])
        own, other = ([item for item in got if item.label == asked] for asked in (name, absent))
        truth = photo.truth.boxes[photo.truth.names == found.names.index(name)]
        best = f"{own[0].score:.2f}" if own else "**not found**"
        iou = f"{box_iou(own[0].box[None], truth.astype('float32')).max():.2f}" if own else "-"
        answer = f"**found, {other[0].score:.2f}**" if other else "refused"
        yield f"| {stem} | {name} | {best} | {iou} | {absent} | {answer} |"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="open.json of the photo set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    options = parser.parse_args()
    photos, out = options.photos.resolve(), options.out.resolve()
    head = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[0].rstrip()
    parts = [head, "", BEGIN]
    section = ""
    for title, name, words in RUNS:
        if title != section:
            parts += ["", f"## {title}"]
            section = title
        parts += ["", run(words, photos, out / name).rstrip()]
    parts += ["", "## Ten photographs, one by one", ""]
    parts += ['`fo1 detect PHOTO -q "NAME; ABSENT"`, default threshold, photos of the open set.']
    parts += ["The ten were picked for having one clear thing; their outputs had been seen before"]
    parts += ["the rules were final (see above). IoU with the hand-drawn box.", ""]
    parts += [*ten_photographs(photos), ""]
    DOCUMENT.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
