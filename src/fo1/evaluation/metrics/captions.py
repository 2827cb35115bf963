"""Captions against references: CIDEr and METEOR of a data set, recomputed on resampled pictures.

Document frequencies are those of all references, also in resamples: words do not become rare
because a picture was not drawn.

Legend: M items, R rows of weights (see `metrics`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fo1.evaluation.metrics import text as text_metrics
from fo1.evaluation.metrics.cider import CiderD
from fo1.evaluation.metrics.coco_caption import Missing, Tokens, meteor, ptb_tokens
from fo1.evaluation.metrics.estimates import Floats, accuracy


class CaptionScorer:
    """Scores captions of M items by their references.

    Args:
        references: one or more sentences of each item.
        pictures: (M,) the picture of each item.

    Attributes:
        notes: one line for everything that is missing on this machine.
    """

    def __init__(
        self, references: Sequence[Sequence[str]], pictures: npt.NDArray[np.int64]
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._java = True
        self._pictures = pictures
        flat = iter(self.tokens([sentence for item in references for sentence in item]))
        self._references = [[next(flat) for _ in item] for item in references]
        self._cider = CiderD(self._references)

    def tokens(self, sentences: Sequence[str]) -> list[Tokens]:
        """Return the words of sentences, by the tokenizer of the references if that still runs."""
        if self._java:
            try:
                return ptb_tokens(sentences)
            except Missing as problem:
                self._java = False
                self._note(f"own tokenizer instead of the Penn Treebank's, no METEOR: {problem}")
        return [text_metrics.tokens(sentence) for sentence in sentences]

    def cider(self, captions: Sequence[Tokens], weights: Floats) -> Floats:
        """Return (R,) CIDEr times 100, over all references of an item."""
        return 100 * accuracy(self._cider.scores(captions), self._pictures, weights)

    def cider_apart(self, captions: Sequence[Tokens], weights: Floats) -> Floats:
        """Return (R,) CIDEr times 100 with every reference as an item of its own."""
        items = np.repeat(np.arange(len(captions)), [len(item) for item in self._references])
        cider = CiderD([[sentence] for item in self._references for sentence in item])
        scores = cider.scores([captions[item] for item in items.tolist()])
        return 100 * accuracy(scores, self._pictures[items], weights)

    def meteor(self, captions: Sequence[Tokens], weights: Floats) -> Floats:
        """Return (R,) METEOR, 0 to 1; NaN where it cannot be run.

        Row 0 is that of all captions together. The others spread around it as the mean of the
        captions' own scores does, since METEOR adds up its counts before it divides.
        """
        nothing = np.full(len(weights), np.nan)
        if not self._java:
            return nothing
        try:
            *each, whole = meteor(captions, self._references)
        except Missing as problem:
            self._note(f"no METEOR: {problem}")
            return nothing
        means = accuracy(each, self._pictures, weights)
        return whole + means - means[0]

    def others(self, weights: Floats) -> Floats:
        """Return (R,) CIDEr times 100 of people: the first reference by the other ones."""
        several = [at for at, item in enumerate(self._references) if len(item) > 1]
        if not several:
            return np.full(len(weights), np.nan)
        cider = CiderD([self._references[at][1:] for at in several])
        scores = cider.scores([self._references[at][0] for at in several])
        return 100 * accuracy(scores, self._pictures[several], weights)

    def _note(self, line: str) -> None:
        self.notes = tuple(dict.fromkeys([*self.notes, line]))
