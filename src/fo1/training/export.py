"""The model of a run, written where it is to be used: beside, then file by file to its place."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor

VOCABULARY_FILE = "vocabulary.txt"
_OWN = ("model.safetensors", "model.safetensors.index.json", "README.md", VOCABULARY_FILE)
_COLOURS = ("#2a78b5", "#d1603d", "#3d8f5f", "#8a5fb0", "#b0903d", "#555555")


def export(
    model: FO1ForConditionalGeneration,
    processor: FO1Processor,
    base: Path | None,
    out: Path,
    names: Iterable[str],
    card: str,
) -> None:
    """Write a model that `FO1.from_pretrained` reads.

    Args:
        model: what learned.
        processor: of the model.
        base: folder of the model that the run began with; what belongs to it, such as a lexicon or the weights of
            its proposers, is copied.
        out: folder, which may hold the run.
        names: that regions can be called from now on, besides those of the base.
        card: the model card.
    """
    part = out / "model.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    model.save_pretrained(part)
    processor.save_pretrained(part)
    (part / "README.md").write_text(card, encoding="utf-8")
    if base is not None:
        for file in sorted(base.iterdir()):
            mine = file.name in _OWN or file.name.startswith("model-")
            if file.is_file() and not mine and not (part / file.name).exists():
                shutil.copyfile(file, part / file.name)
        if (base / VOCABULARY_FILE).is_file():
            known = (base / VOCABULARY_FILE).read_text(encoding="utf-8").splitlines()
            every = sorted({*known, *(name.lower() for name in names)} - {""})
            (part / VOCABULARY_FILE).write_text("\n".join(every) + "\n", encoding="utf-8")
    for file in sorted(part.iterdir(), key=lambda one: one.name == "config.json"):
        file.replace(out / file.name)  # the config last: without it the folder is no model
    part.rmdir()


def plot_losses(
    rows: Sequence[Mapping[str, Any]], size: tuple[int, int] = (900, 420)
) -> Image.Image:
    """Return the losses of a run over its steps, smoothed, one line each, stages one after another.

    Args:
        rows: of log.jsonl.
        size: (width, height) of the picture, pixels.
    """
    width, height = size
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = 60, 20, width - 20, height - 40
    pen.rectangle((left, top, right, bottom), outline="#999999")
    curves: dict[str, list[tuple[int, float]]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            if name not in ("stage", "step") and "/" not in name:
                curves.setdefault(name, []).append((place, float(value)))
    smooth = {name: _smoothed(curve) for name, curve in curves.items()}
    most = max((value for curve in smooth.values() for _, value in curve), default=1.0) or 1.0
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        pen.text((8, y - 6), f"{share * most:.3g}", fill="black")
    count = max(len(rows) - 1, 1)
    for place in range(1, len(rows)):
        if rows[place]["stage"] != rows[place - 1]["stage"]:
            x = left + place / count * (right - left)
            pen.line((x, top, x, bottom), fill="#bbbbbb")
            pen.text((x + 4, top + 2), str(rows[place]["stage"]), fill="#777777")
    for number, (name, curve) in enumerate(sorted(smooth.items())):
        points = [
            (left + x / count * (right - left), bottom - y / most * (bottom - top))
            for x, y in curve
        ]
        if len(points) > 1:
            pen.line(points, fill=_COLOURS[number % len(_COLOURS)], width=2)
        pen.text(
            (left + 10 + 90 * number, height - 22), name, fill=_COLOURS[number % len(_COLOURS)]
        )
    pen.text((right - 60, bottom + 6), f"{len(rows)} steps", fill="black")
    return picture


def _smoothed(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return a curve of running means over a fiftieth of its length."""
    reach = max(1, len(curve) // 50)
    found: list[tuple[int, float]] = []
    for place in range(len(curve)):
        window = [value for _, value in curve[max(0, place - reach + 1) : place + 1]]
        found.append((curve[place][0], sum(window) / len(window)))
    return found


def model_card(
    recipe: Mapping[str, Any],
    command: str,
    data: Mapping[str, int],
    figures: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """Return a model card: what the model was made of, by which command, and what was measured.

    Args:
        recipe: its fields.
        command: as it was typed.
        data: records by source.
        figures: of held-out data, by name.
        rows: of log.jsonl.
    """
    last = rows[-1] if rows else {}
    lines = [
        "---",
        "library_name: fo1",
        "pipeline_tag: zero-shot-object-detection",
        f"base_model: {recipe['model']}",
        "---",
        "",
        f"# A model trained with fo1, recipe `{recipe['name']}`",
        "",
        f"Begun from `{recipe['model']}`. Command:",
        "",
        f"    {command}",
        "",
        "| data | records |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in data.items()),
        "",
        "| stage | steps | samples a step | learns |",
        "|---|---|---|---|",
        *(
            f"| {stage['name']} | {stage['steps']:,} | {stage['batch']} | {', '.join(stage['learns'])} |"
            for stage in recipe["stages"]
        ),
        "",
    ]
    if figures:
        lines += [
            "Measured on held-out pictures of the same data:",
            "",
            "| figure | value |",
            "|---|---|",
        ]
        lines += [f"| {name} | {value:.4g} |" for name, value in figures.items()]
        lines.append("")
    if last:
        told = ", ".join(
            f"{n} {v:.4g}" for n, v in last.items() if n not in ("stage", "step") and "/" not in n
        )
        lines += [f"Losses of the last step: {told}. All of them: `log.jsonl`, `losses.png`.", ""]
    lines += ["What the data do not show, the model was not measured on.", ""]
    return "\n".join(lines)
