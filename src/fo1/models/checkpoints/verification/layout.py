"""The looks that need no model: files, config.json, headers of the weights."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fo1.errors import CheckpointError
from fo1.models.checkpoints.verification.findings import Finding, Status, some
from fo1.models.configuration import FO1Config
from fo1.models.published.export import written_options
from fo1.models.published.options import read_config
from fo1.models.published.reading import (
    PUBLISHED_MODEL_TYPE,
    TOKENIZER_CONFIG,
    TokenizerError,
    is_published,
    published_config,
)
from fo1.models.tensor_files import (
    INDEX_FILE,
    SINGLE_FILE,
    TensorInfo,
    check_floating,
    is_pointer,
    read_header,
)

MOST_LAYERS = 1000
"""Layers that config.json may ask for: a model is built from it, if without memory."""

_DEPTHS = ("num_hidden_layers", "depth", "depths")
_WITHOUT_EFFECT = {
    *("mm_vision_tower", "mm_hidden_size", "mm_region_hidden_size", "aux_image_size"),
    *("delay_load", "tokenizer_model_max_length", "tokenizer_padding_side"),
    *("vision_token_id", "pad_token_id", "transformers_version", "torch_dtype", "dtype"),
    *("aux_vision_config", "_name_or_path"),
}
_OUR_OPTIONS = ("image_projector", "num_region_tokens", "region_placeholder_id", "repeat_regions")
_HOST_OPTIONS = ("vocab_size", "hidden_size", "num_hidden_layers", "tie_word_embeddings")


@dataclass(slots=True)
class Seen:
    """What the looks have learned of a folder so far.

    Attributes:
        path: the folder.
        files: bytes of each file.
        raw: config.json.
        config: what it means.
        stored: the tensors, by the names in the files.
        embedding: name of the word embeddings among them.
        tokenizer_works: whether nothing is known to be wrong with the tokenizer's files.
    """

    path: Path
    files: dict[str, int] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    config: FO1Config | None = None
    stored: dict[str, TensorInfo] = field(default_factory=dict)
    embedding: str | None = None
    tokenizer_works: bool = True


def look_at_files(seen: Seen) -> Iterator[Finding]:
    """Yield whether the files are there and hold what their names say."""
    found = [file for file in seen.path.iterdir() if file.is_file()]
    seen.files |= {file.name: file.stat().st_size for file in found}
    pointers = sorted(file.name for file in found if is_pointer(file))
    if pointers:
        cure = "these are git-lfs pointers, not the files; run: git lfs pull"
        yield Finding.of("files", Status.FAIL, f"{some(pointers)}: {cure}")
    empty = sorted(name for name, size in seen.files.items() if not size)
    if empty:
        yield Finding.of("files", Status.FAIL, f"{some(empty)}: empty; download again")
    wanted = [
        "config.json" if "config.json" not in seen.files else "",
        "" if {SINGLE_FILE, INDEX_FILE} & seen.files.keys() else f"{SINGLE_FILE} or {INDEX_FILE}",
        "tokenizer.json or vocab.json with merges.txt"
        if "tokenizer.json" not in seen.files
        and not {"vocab.json", "merges.txt"} <= set(seen.files)
        else "",
    ]
    missing = [name for name in wanted if name]
    if missing:
        yield Finding.of("files", Status.FAIL, f"missing: {', '.join(missing)}; download again")
    if seen.files and TOKENIZER_CONFIG not in seen.files:
        missing.append(TOKENIZER_CONFIG)
        detail = f"{TOKENIZER_CONFIG} is missing; download it again"
        yield Finding.of("files", Status.FAIL, detail)
    filled = [file for file in sorted(found) if file.name not in {*pointers, *empty}]
    damaged = [said for file in filled if (said := _damage(file))]
    for said in damaged:
        yield Finding.of("files", Status.FAIL, f"{said}; download it again")
    if not (pointers or empty or missing or damaged):
        size = sum(seen.files.values()) / 1e9
        yield Finding.of("files", Status.OK, f"{len(seen.files)} files, {size:.3f} GB")


def look_at_config(seen: Seen) -> Iterator[Finding]:
    """Yield which layout it is, and whether its options are known and can be run."""
    published = is_published(seen.path)  # says so where the file is missing or no JSON
    raw = json.loads((seen.path / "config.json").read_text(encoding="utf-8"))
    seen.raw = raw
    kind = raw.get("model_type")
    if not published and kind != FO1Config.model_type:
        known = f"{PUBLISHED_MODEL_TYPE!r} (published) or {FO1Config.model_type!r} (ours)"
        raise CheckpointError(f"model_type is {kind!r}, need {known}; is this another model?")
    _check_depth(raw)
    if not published:
        seen.config = FO1Config.from_pretrained(seen.path, local_files_only=True)
    else:
        try:
            seen.config = published_config(seen.path)
        except TokenizerError as error:
            seen.tokenizer_works = False
            yield Finding.of("tokenizer", Status.FAIL, str(error))
            seen.config = read_config(raw, placeholder=0)  # the rest can be looked at without
    layout = "published layout" if published else "layout of fo1"
    yield Finding.of("config", Status.OK, f"{layout}, model_type {kind}")
    shown = shown_options(seen)
    yield Finding.of("options", Status.OK, ", ".join(f"{k}={v!r}" for k, v in shown.items()))
    unknown = _unknown_options(seen) if published else []
    if unknown:
        detail = f"unknown to this version, without effect here: {some(unknown)}"
        yield Finding.of("options", Status.NOTE, detail)


def look_at_weights(seen: Seen) -> Iterator[Finding]:
    """Yield whether all weight files are whole, by their headers alone."""
    listed = _listed(seen)
    files = sorted(set(listed.values())) if listed else [SINGLE_FILE]
    bad = 0
    for name in files:
        try:
            seen.stored |= read_header(seen.path / name)
        except CheckpointError as error:
            bad += 1
            yield Finding.of("weights", Status.FAIL, str(error))
    if bad:
        seen.stored.clear()  # what is missing in part would be told as missing tensors
        return
    if listed:
        lost = [n for n in listed if n not in seen.stored or seen.stored[n].file.name != listed[n]]
        unlisted = sorted(seen.stored.keys() - listed.keys())
        if lost or unlisted:
            detail = f"{INDEX_FILE} and the files disagree on {some(sorted(lost) + unlisted)}"
            yield Finding.of("weights", Status.FAIL, f"{detail}; download all of them again")
            return
    try:
        check_floating(seen.stored)
    except CheckpointError:
        seen.stored = {}  # the library's loader would only say it again
        raise
    extra = sorted(n for n in seen.files if n.endswith(".safetensors") and n not in files)
    if extra:
        yield Finding.of("weights", Status.NOTE, f"not part of the model: {some(extra)}")
    count = sum(info.elements for info in seen.stored.values())
    size = sum(info.bytes for info in seen.stored.values())
    dtypes = Counter(info.dtype for info in seen.stored.values())
    kinds = ", ".join(f"{number} {dtype}" for dtype, number in dtypes.most_common())
    told = f"{len(files)} file{'s' * (len(files) > 1)}, {kinds}, {count:,} numbers, {size:,} bytes"
    yield Finding.of("weights", Status.OK, told)


def _damage(file: Path) -> str | None:
    """Return what is wrong with a JSON file or the merges of a tokenizer, whatever they hold."""
    if file.suffix == ".json":
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return f"{file.name} is not valid JSON"
    elif file.name == "merges.txt":
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return f"{file.name} is not text"
        return None if text.strip() and "\0" not in text else f"{file.name} holds no text"
    return None


def _listed(seen: Seen) -> dict[str, str]:
    """Return the file of each tensor as the index tells it; empty without an index."""
    file = seen.path / INDEX_FILE
    if not file.is_file():
        return {}
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        names = {str(name): str(place) for name, place in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{INDEX_FILE} is damaged; download it again") from error
    outside = [place for place in names.values() if Path(place).name != place]
    if outside or not names:
        found = f"names {outside[0]!r}" if outside else "names no files"
        raise CheckpointError(f"{INDEX_FILE} {found}; it may name files beside it only")
    return names


def shown_options(seen: Seen) -> dict[str, Any]:
    """Return the options that make a model an FO1 model, and the sizes of its language model."""
    if seen.config is None:
        return {}
    keys = {
        key for key in seen.raw if key.startswith(("mm_", "aux_")) and key != "aux_vision_config"
    }
    if keys:
        return {key: seen.raw[key] for key in (*sorted(keys), *_HOST_OPTIONS) if key in seen.raw}
    region = seen.config.region_config.to_diff_dict()
    text = seen.config.get_text_config()
    return {
        **{key: getattr(seen.config, key) for key in _OUR_OPTIONS},
        **{key: value for key, value in sorted(region.items()) if isinstance(value, int | str)},
        **{key: getattr(text, key) for key in _HOST_OPTIONS if hasattr(text, key)},
        "host": seen.config.vlm_config.model_type,
        "score_head": seen.config.score_config is not None,
    }


def header_digest(stored: Mapping[str, TensorInfo]) -> str:
    """Return SHA-256 of the sorted lines `name:shape:dtype`."""
    lines = sorted(f"{n}:{list(info.shape)}:{info.dtype}" for n, info in stored.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _unknown_options(seen: Seen) -> list[str]:
    """Return the options of a published config.json that nothing here reads."""
    if seen.config is None or seen.config.vlm_config is None:
        return []
    known = written_options(seen.config).keys() | _WITHOUT_EFFECT
    known |= (
        seen.config.vlm_config.to_dict().keys() | seen.config.get_text_config().to_dict().keys()
    )
    return [f"{key}={seen.raw[key]!r}" for key in sorted(seen.raw.keys() - known)]


def _check_depth(raw: Any) -> None:
    """Check that no part asks for more layers than any model has."""
    for key, value in raw.items():
        if isinstance(value, dict):
            _check_depth(value)
        for number in value if isinstance(value, list) else [value]:
            if key in _DEPTHS and isinstance(number, int) and number > MOST_LAYERS:
                raise CheckpointError(
                    f"config.json sets {key} to {number}, at most {MOST_LAYERS} is believable; download it again"
                )
