"""The README.md of a converted checkpoint: facts of the source, nothing claimed."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from fo1.models.published.reading import PUBLISHED_MODEL_TYPE

_LICENCE = re.compile(
    r"^(license|license_name|license_link|base_model):[ \t]*(\S[^\r\n]{0,199})$", re.M
)
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.S)
_LONGEST = 20_000

_LOADING = {
    "fo1": """\
```python
from fo1 import FO1

model = FO1.from_pretrained("{name}")
```""",
    "published": "It is read by tools that know the published VLM-FO1 layout, and by `fo1` itself.",
}


def write_card(
    source: Path,
    folder: Path,
    name: str,
    *,
    layout: str,
    dtype: torch.dtype | None,
    notes: Sequence[str],
) -> None:
    """Write the model card of a checkpoint.

    Args:
        source: the folder it was made from; its own card tells the licence.
        folder: where the card goes.
        name: what the new folder will be called.
        layout: of the new folder.
        dtype: what the weights were cast to, if they were.
        notes: what else differs from the source.
    """
    facts = stated_facts(source)
    licence = facts.get("license")
    copied = sorted(file.name for file in folder.glob("LICEN[CS]E*"))
    words = f"fo1 convert {source.resolve().name} {name}"
    words += "" if layout == "fo1" else f" --to {layout}"
    words += "" if dtype is None else f" --dtype {str(dtype).removeprefix('torch.')}"
    told = (
        f"`{licence}`, as the source's card states"
        if licence
        else "not stated by the source's card"
    )
    told += f"; see {', '.join(copied)}" if copied else ""
    kept = "bit for bit" if dtype is None else f"cast to {str(dtype).removeprefix('torch.')}"
    kind = "layout of fo1" if layout == "fo1" else f"published layout (`{PUBLISHED_MODEL_TYPE}`)"
    lines = [
        "---",
        *(f"{key}: {value}" for key, value in facts.items()),
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "tags: [fo1, object-detection]",
        "---",
        "",
        f"# {name}",
        "",
        f"Converted from `{source.resolve().name}` to the {kind}; weights {kept}.",
        "",
        f"- licence: {told}",
        *(f"- {note}" for note in notes),
        "",
        "```",
        words,
        "```",
        "",
        _LOADING[layout].format(name=name),
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def stated_facts(source: Path) -> dict[str, str]:
    """Return licence and base model as the front matter of a folder's README.md states them."""
    try:
        with (source / "README.md").open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_LONGEST)
    except OSError:
        return {}
    front = _FRONT.match(text)
    return dict(_LICENCE.findall(front[1])) if front else {}
