"""Semantic similarity: the cosine of two sentences' embeddings by a sentence-transformers model.

The model is looked for on this machine alone; nothing is downloaded.

Legend: S sentences, D width of an embedding, L tokens.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from transformers import AutoModel, AutoTokenizer

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import Floats

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
VARIABLE = "FO1_SENTENCE_MODEL"
MAX_TOKENS = 256
"""Tokens of a sentence that count. Source: the model's sentence_bert_config.json."""
BATCH = 64
CURE = f"run `hf download {MODEL}`, or set {VARIABLE} to the model's folder"


class SentenceEncoder:
    """Embeds sentences: the mean of a BERT's last states over the tokens, of length 1.

    Source: the card of sentence-transformers/all-MiniLM-L6-v2 (mean pooling, then normalised).

    Args:
        folder: with the model and its tokenizer as transformers writes them.

    Raises:
        InputError: the folder holds no such model.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder} holds no sentence model ({reason}); {CURE}") from error
        longest = getattr(self._model.config, "max_position_embeddings", MAX_TOKENS)
        self._max_tokens = min(MAX_TOKENS, longest)
        self._known: dict[str, Floats] = {}

    def __call__(self, sentences: Sequence[str]) -> Floats:
        """Return (S, D) embeddings of length 1."""
        new = sorted({s for s in sentences if s not in self._known}, key=lambda s: (len(s), s))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self._known |= dict(zip(batch, self._embed(batch), strict=True))
        width = self._model.config.hidden_size
        return np.array([self._known[s] for s in sentences]).reshape(len(sentences), width)

    def similarity(self, answers: Sequence[str], truths: Sequence[str]) -> Floats:
        """Return (S,) cosines, -1 to 1; 0 for an answer of nothing but spaces."""
        cosines = (self(answers) * self(truths)).sum(1)
        return np.where([bool(answer.strip()) for answer in answers], cosines, 0.0)

    def _embed(self, batch: Sequence[str]) -> Floats:
        encoded = self._tokenizer(
            list(batch),
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = self._model(**encoded).last_hidden_state.double()  # (S, L, D)
        mask = encoded["attention_mask"][..., None].double()
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1).numpy()


def find_sentence_model() -> Path:
    """Return the folder of the sentence model: that of the environment, else of the local Hub cache.

    Raises:
        InputError: there is none; says how to get it.
    """
    if given := os.environ.get(VARIABLE):
        if not Path(given).is_dir():
            raise InputError(f"{VARIABLE} is {given!r}, which is no folder; {CURE}")
        return Path(given)
    try:
        return Path(snapshot_download(MODEL, local_files_only=True))
    except (OSError, ValueError) as error:
        raise InputError(f"the sentence model {MODEL} is not on this machine; {CURE}") from error
