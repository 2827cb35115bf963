"""The looks at what is well formed but cannot be meant: token ids, lengths, weights that are all zero."""

from collections.abc import Iterator
from typing import Any

from safetensors import safe_open

from fo1.models.checkpoints.verification.findings import Finding, Status, some
from fo1.models.checkpoints.verification.layout import Seen
from fo1.models.published.options import unused_tensors
from fo1.models.published.reading import is_published, published_generation_config

LEAST_LENGTH = 4096
"""Tokens that a prompt with a picture and its regions may well have."""

ROWS = 64
"""Rows of a matrix that are read at once."""

_TOKEN_IDS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "image_token_id", "video_token_id"),
    *("vision_token_id", "vision_start_token_id", "vision_end_token_id"),
)


def look_at_values(seen: Seen) -> Iterator[Finding]:
    """Yield the token ids outside the vocabulary, and lengths that hardly a prompt fits in."""
    assert seen.config is not None
    text = seen.config.get_text_config()
    settings = published_generation_config(seen.path).to_dict()
    for file, table in (("config.json", seen.raw), ("generation_config.json", settings)):
        for key, number in _token_ids(table):
            if type(number) is not int or not 0 <= number < text.vocab_size:
                detail = f"{file}: {key} is {number!r}, outside the vocabulary of {text.vocab_size}"
                yield Finding.of("config", Status.FAIL, f"{detail}; download {file} again")
    lengths = {
        "max_position_embeddings": getattr(text, "max_position_embeddings", None),
        "tokenizer_model_max_length": seen.raw.get("tokenizer_model_max_length"),
    }
    for key, length in lengths.items():
        if isinstance(length, int) and length < LEAST_LENGTH:
            detail = f"{key} is {length}; prompts with regions may have {LEAST_LENGTH} tokens"
            yield Finding.of("config", Status.NOTE, detail)


def look_at_zeros(seen: Seen) -> Iterator[Finding]:
    """Yield the matrices that hold nothing but zeros; one is read only as far as its first other number."""
    unused = unused_tensors(seen.raw) if is_published(seen.path) else ()
    zero = []
    for file in sorted({info.file for info in seen.stored.values()}):
        with safe_open(file, framework="pt") as tensors:
            for name, info in seen.stored.items():
                matrix = info.file == file and len(info.shape) > 1 and info.elements
                if matrix and not name.startswith(unused) and _all_zero(tensors.get_slice(name)):
                    zero.append(name)
    if zero:
        detail = f"{len(zero)} matrices are all zero: {some(sorted(zero))}"
        yield Finding.of("tensors", Status.FAIL, f"{detail}; download the weights again")


def _token_ids(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the token ids in a table and in those inside it."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _token_ids(value)
        elif key in _TOKEN_IDS and value is not None:
            yield from ((key, number) for number in (value if isinstance(value, list) else [value]))


def _all_zero(matrix: Any) -> bool:
    rows = matrix.get_shape()[0]
    # Rows without a token may be zero, so the first ones are not enough.
    return not any(matrix[at : at + ROWS].float().any() for at in range(0, rows, ROWS))
