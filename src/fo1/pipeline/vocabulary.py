"""Names that a model can give to a region without writing: the closed vocabulary of the embedded model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fo1.errors import CheckpointError
from fo1.lexicon import Lexicon, Source
from fo1.models import FO1Processor


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Names, ready to be compared with regions.

    Attributes:
        names: M names.
        tokens: the token ids of each.
        classes: per evidence source and name the classes that it names.
    """

    names: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    classes: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def load(
        cls, path: Path, processor: FO1Processor, lexicon: Lexicon | None, sources: Sequence[Source]
    ) -> "Vocabulary":
        """Return the vocabulary of a text file with one name per line.

        Raises:
            CheckpointError: the file holds no name.
        """
        lines = path.read_text(encoding="utf-8").splitlines()
        names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not names:
            raise CheckpointError(f"{path} holds no names; restore the file or delete it")
        encoded = processor.tokenizer(list(names), add_special_tokens=False)["input_ids"]
        return cls(
            names,
            tuple(tuple(ids) for ids in encoded),
            tuple(
                tuple(() if lexicon is None else lexicon.classes(name, source) for name in names)
                for source in sources
            ),
        )
