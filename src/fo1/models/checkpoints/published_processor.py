"""Tokenizer and processor files of the published layout, written from ours."""

import json
from pathlib import Path
from typing import Any

from fo1.errors import CheckpointError
from fo1.models.processing import IMAGENET_MEAN, IMAGENET_STD, FO1Processor
from fo1.models.published.reading import HOST_PIXELS
from fo1.tags import REGION_PLACEHOLDER

_TOKEN_FLAGS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def check_processor(processor: FO1Processor) -> None:
    """Check that pictures are prepared as the published layout prescribes.

    Raises:
        CheckpointError: other pixel limits or colours, for which that layout has no option.
    """
    size, auxiliary = processor.image_processor.size, processor.auxiliary_image_processor
    limits = (size["shortest_edge"], size["longest_edge"])
    colours = (tuple(auxiliary.image_mean), tuple(auxiliary.image_std))
    for what, found, need in (
        ("pixel limits of the host", limits, HOST_PIXELS),
        ("colours of the auxiliary encoder", colours, (IMAGENET_MEAN, IMAGENET_STD)),
    ):
        if found != need:
            raise CheckpointError(
                f"the published layout cannot express this model: {what} {found}, need {need}; "
                "keep it in the layout of fo1"
            )


def write_published_processor(processor: FO1Processor, folder: Path) -> None:
    """Write tokenizer and image processor files for tools that read the published layout.

    The region placeholder, which that layout keeps out of the vocabulary, is left out where it is the last
    token; the slow tokenizer's files are written beside the fast one's.
    """
    settings = json.loads(processor.image_processor.to_json_string())
    settings["image_processor_type"] = settings["image_processor_type"].removesuffix("Pil")
    _write(folder / "preprocessor_config.json", settings)
    processor.tokenizer.save_pretrained(folder)
    file = folder / "tokenizer.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    added: list[dict[str, Any]] = sorted(table["added_tokens"], key=lambda token: token["id"])
    if added and added[-1]["content"] == REGION_PLACEHOLDER:
        added.pop()
    _write(file, table | {"added_tokens": added}, indent=None)
    _write(folder / "vocab.json", table["model"]["vocab"], indent=None)
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in table["model"]["merges"]
    ]
    text = "\n".join(["#version: 0.2", *merges]) + "\n"
    (folder / "merges.txt").write_text(text, encoding="utf-8", newline="\n")
    _write(folder / "added_tokens.json", {token["content"]: token["id"] for token in added})
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    special = settings.pop("extra_special_tokens", None)
    for key in ("backend", "is_local", "local_files_only", "processor_class"):
        settings.pop(key, None)
    settings["added_tokens_decoder"] = {
        str(token["id"]): {flag: token[flag] for flag in _TOKEN_FLAGS} for token in added
    }
    if isinstance(special, list):  # the older name of the same list
        settings["additional_special_tokens"] = special
    _write(config, settings)


def _write(file: Path, value: Any, indent: int | None = 2) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
