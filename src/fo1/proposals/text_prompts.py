"""How detectors that are prompted with text take names, and how sure they are of each.

Three ways exist: names joined to one text whose tokens are matched (Grounding DINO), one short text
a name (OWL), and names beside a sentence that tells the task (OmDet-Turbo).

Legend: K names, Q boxes, T tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from fo1.errors import InputError

_END = re.compile(r"[.\s]+$")


class TextPrompt(Protocol):
    """One way of telling a detector what to look for."""

    square: bool
    """Whether boxes are shares of the square that holds the picture, not of the picture."""

    def inputs(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return what the model takes beside the pixels of one picture.

        Raises:
            InputError: the names are too many or too long.
        """
        ...

    def read(self, outputs: Any, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return boxes (Q, 4), cxcywh in shares, and probabilities (Q, K) of one picture."""
        ...


class GroundingPrompt:
    """Names joined to one text, "a cat. a dog."; a name's probability is that of its best token.

    Source: Grounding DINO, arXiv 2303.05499.
    """

    square = False

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.longest = int(config.max_text_len)

    def inputs(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return input_ids, token_type_ids and attention_mask (1, T)."""
        found = self.tokenizer(self._text(names), return_tensors="pt", return_token_type_ids=True)
        count = found["input_ids"].shape[1]
        if count > self.longest:
            raise InputError(
                f"{len(names)} names are {count} tokens, this detector reads {self.longest}; "
                "ask for fewer at a time"
            )
        return dict(found)

    def read(self, outputs: Any, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return boxes (Q, 4) and probabilities (Q, K)."""
        spans = self.tokenizer(self._text(names), return_offsets_mapping=True)["offset_mapping"]
        chances = outputs.logits[0].float().sigmoid()
        columns: list[Tensor] = []
        start = 0
        for name in map(_clean, names):
            end = start + len(name)
            tokens = [n for n, (a, b) in enumerate(spans) if a < b and start <= a and b <= end]
            columns.append(
                chances[:, tokens].amax(1) if tokens else chances.new_zeros(len(chances))
            )
            start = end + 2  # ". "
        return outputs.pred_boxes[0], torch.stack(columns, 1)

    def _text(self, names: Sequence[str]) -> str:
        return ". ".join(map(_clean, names)) + "."


class ShortTextsPrompt:
    """One text a name, each matched with every box.

    Source: OWL-ViT, arXiv 2205.06230; OWLv2, arXiv 2306.09683, which sees pictures padded to squares.
    """

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.longest = int(config.text_config.max_position_embeddings)
        self.square = config.model_type == "owlv2"

    def inputs(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask (K, T)."""
        return _texts(self.tokenizer, names, self.longest)

    def read(self, outputs: Any, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return boxes (Q, 4) and probabilities (Q, K)."""
        return outputs.pred_boxes[0], outputs.logits[0].float().sigmoid()


class TaskPrompt:
    """Names, and a sentence that lists them.

    Source: OmDet-Turbo, arXiv 2403.06892.
    """

    square = False

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.longest = int(config.text_config.max_position_embeddings)

    def inputs(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return ids and masks of the names (K, T) and of the task (1, T), and the number of names (1,)."""
        task = f"Detect {', '.join(names)}."
        parts = {"classes": list(names), "tasks": [task]}
        made = {
            f"{part}_{key}": value
            for part, texts in parts.items()
            for key, value in _texts(self.tokenizer, texts, self.longest).items()
        }
        return {**made, "classes_structure": torch.tensor([len(names)])}

    def read(self, outputs: Any, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return boxes (Q, 4) and probabilities (Q, K)."""
        logits = outputs.decoder_class_logits[0, :, : len(names)]
        return outputs.decoder_coord_logits[0], logits.float().sigmoid()


PROMPTS: Mapping[str, type[GroundingPrompt | ShortTextsPrompt | TaskPrompt]] = {
    "grounding-dino": GroundingPrompt,
    "mm-grounding-dino": GroundingPrompt,
    "owlvit": ShortTextsPrompt,
    "owlv2": ShortTextsPrompt,
    "omdet-turbo": TaskPrompt,
}
"""By `config.model_type`."""


def _texts(tokenizer: Any, texts: Sequence[str], longest: int) -> dict[str, Tensor]:
    """Return input_ids and attention_mask (K, T), T the longest text that the model reads."""
    made = tokenizer(
        list(texts),
        padding="max_length",
        max_length=longest,
        truncation=True,
        return_tensors="pt",
    )
    return {key: made[key] for key in ("input_ids", "attention_mask")}


def _clean(name: str) -> str:
    """Return a name as Grounding DINO reads it: in small letters, without a full stop at its end."""
    return _END.sub("", name.strip().lower())
