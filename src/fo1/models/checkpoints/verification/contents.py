"""The looks that compare: tensors with the model of config.json, tokenizer and embedding with the region tokens."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import torch
from safetensors import safe_open

from fo1.layout import TURN_END, TURN_START
from fo1.models.checkpoints.dry_loading import load_headers
from fo1.models.checkpoints.verification.findings import Finding, Status, some
from fo1.models.checkpoints.verification.layout import Seen
from fo1.models.families import get_family
from fo1.models.processing import FO1Processor
from fo1.models.published.reading import NamePlan, is_published, plan_names
from fo1.tags import GROUND_CLOSE, GROUND_OPEN, OBJECTS_CLOSE, OBJECTS_OPEN, region_token

_TAGS = (GROUND_OPEN, GROUND_CLOSE, OBJECTS_OPEN, OBJECTS_CLOSE, TURN_START, TURN_END)


def look_at_tensors(seen: Seen) -> Iterator[Finding]:
    """Yield whether the stored tensors are those of the model that config.json describes."""
    assert seen.config is not None
    names = sorted(seen.stored)
    if is_published(seen.path):
        plan = plan_names(names, seen.raw)
    else:
        plan = NamePlan({name: name for name in names}, unused=(), strays={})
    stored = {own: name for name, own in plan.ours.items()}
    model, info = load_headers(seen.config, {own: seen.stored[n] for own, n in stored.items()})
    missing = sorted(info["missing_keys"])
    strange = [*plan.strays]
    strange += sorted(stored.get(own, own) for own in map(str, info["unexpected_keys"]))
    wrong = [
        f"{stored.get(own, own)} is {list(found)}, need {list(needed)}"
        for own, found, needed in sorted(info["mismatched_keys"])
    ]
    for what, names in (
        ("missing", missing),
        ("not of this model", strange),
        ("of another shape", wrong),
    ):
        if names:
            cure = "config.json and the weights do not belong together, download both again"
            detail = f"{len(names)} {what}: {some(names)}; {cure}"
            yield Finding.of("tensors", Status.FAIL, detail)
    if plan.unused:
        yield Finding.of("tensors", Status.NOTE, f"{len(plan.unused)} are never read in this mode")
    if not (missing or strange or wrong):
        told = f"all {len(stored)} in place, names and shapes as config.json says"
        yield Finding.of("tensors", Status.OK, told)
    seen.embedding = _find_embedding(model, seen, stored)


def _find_embedding(model: Any, seen: Seen, stored: Mapping[str, str]) -> str | None:
    """Return the stored name of the word embeddings: the library may have renamed them, their ending stays."""
    weight = model.get_input_embeddings().weight
    own = next(n for n, p in model.named_parameters(remove_duplicate=False) if p is weight)
    if own in stored:
        return stored[own]
    ending = own.rsplit(".", 2)[1:]
    return next((n for n in seen.stored if n.rsplit(".", 2)[1:] == ending), None)


def look_at_tokens(seen: Seen) -> Iterator[Finding]:
    """Yield whether the tokenizer knows the region tokens and the embedding has a row for each."""
    assert seen.config is not None
    processor = FO1Processor.from_pretrained(seen.path)
    tokenizer = processor.tokenizer
    vocabulary = tokenizer.get_vocab()
    regions = [region_token(number) for number in range(seen.config.num_region_tokens)]
    unknown = [token for token in (*_TAGS, *regions) if token not in vocabulary]
    if unknown:
        detail = f"the tokenizer lacks {some(unknown)}, {len(unknown)} in all"
        yield Finding.of("tokenizer", Status.FAIL, f"{detail}; download its files again")
        return
    split = [token for token in (*_TAGS, regions[-1]) if len(_ids(tokenizer, token)) != 1]
    if split:
        detail = f"the tokenizer takes {some(split)} apart; download its files again"
        yield Finding.of("tokenizer", Status.FAIL, detail)
        return
    told = f"{len(vocabulary)} entries, {regions[0]} to {regions[-1]} and the tags among them"
    yield Finding.of("tokenizer", Status.OK, told)
    image = tokenizer.convert_tokens_to_ids(processor.image_token)
    host = seen.config.vlm_config
    if (told_image := get_family(host.model_type).image_token_id(host)) != image:
        detail = f"image_token_id is {told_image}, but {processor.image_token} is {image}"
        cure = "config.json and the tokenizer do not belong together, download both again"
        yield Finding.of("tokenizer", Status.FAIL, f"{detail}; {cure}")
    known = next(number for number in count() if region_token(number) not in vocabulary)
    if known > len(regions):
        detail = f"it has {known} index tokens, config.json uses {len(regions)} of them"
        yield Finding.of("tokenizer", Status.NOTE, detail)
    if seen.embedding is not None:
        ids = {token: vocabulary[token] for token in (*_TAGS, *regions)}
        yield from _rows(seen, ids)


def _rows(seen: Seen, ids: Mapping[str, int]) -> Iterator[Finding]:
    """Yield whether the embedding rows of tokens exist and were trained; only these rows are read."""
    info = seen.stored[str(seen.embedding)]
    beyond = [token for token, row in ids.items() if row >= info.shape[0]]
    if beyond:
        detail = f"{info.shape[0]} rows, none for {some(beyond)}"
        yield Finding.of("embedding", Status.FAIL, f"{detail}; tokenizer and weights do not match")
        return
    with safe_open(info.file, framework="pt") as file:
        table = file.get_slice(seen.embedding)
        rows = {token: table[row : row + 1][0].float() for token, row in ids.items()}
    broken = [token for token, row in rows.items() if not row.isfinite().all()]
    empty = [token for token, row in rows.items() if not row.any()]
    if broken or empty:
        what = "not finite" if broken else "all zero"
        told = f"{len(broken or empty)} rows are {what}: {some(broken or empty)}"
        yield Finding.of("embedding", Status.FAIL, f"{told}; the model was not trained with them")
        return
    norms = torch.stack([row.norm() for row in rows.values()])
    told = (
        f"rows of {len(rows)} tags and region tokens, norm {norms.min():.3g} to {norms.max():.3g}"
    )
    yield Finding.of("embedding", Status.OK, told)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
