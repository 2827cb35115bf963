"""Data sets as commands name them, and as sources of samples; shared by `fo1 train` and `fo1 data`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fo1.data.converters import CONVERTERS, detect_format
from fo1.data.converters.detection import RECORDS
from fo1.data.mixture import Source
from fo1.data.negatives import Vocabulary
from fo1.data.proposed import ProposedRecords
from fo1.data.schema import Record
from fo1.errors import InputError, short_name
from fo1.proposals import get_proposer
from fo1.proposals.base import DEFAULT_LIMIT


def find_data(text: str) -> tuple[str, Path]:
    """Return format and path of [FORMAT:]PATH.

    Raises:
        InputError: there is nothing, or nothing that is known.
    """
    kind, sign, rest = text.partition(":")
    if not sign or kind not in (*CONVERTERS, RECORDS) or Path(text).exists():
        kind, rest = "", text
    if not rest.strip():
        raise InputError(f"{text!r} names no data; give a folder or a file of data")
    path = Path(rest)
    if kind != RECORDS and not path.exists() and not any(sign in rest for sign in "*?["):
        known = (
            f"; before a colon stands one of {', '.join((*CONVERTERS, RECORDS))}" if sign else ""
        )
        raise InputError(
            f"{short_name(rest)} does not exist; give a folder or a file of data{known}"
        )
    if not kind and not path.exists():
        kind = RECORDS  # a pattern; only records have them
    return kind or detect_format(path), path


def sources_of(
    records: Mapping[str, Sequence[Record]], proposer: str | None, folder: Path
) -> tuple[list[Source], dict[str, Vocabulary]]:
    """Return sources that are drawn by their size, with proposals, and the vocabulary of each by its name.

    Args:
        records: by name of the source.
        proposer: where further boxes come from; None for those of the records alone.
        folder: what it finds is kept there.
    """
    vocabularies = {name: Vocabulary.of(own) for name, own in records.items()}
    if proposer is not None:
        made = get_proposer(proposer, limit=DEFAULT_LIMIT)
        records = {name: ProposedRecords(own, made, folder, name) for name, own in records.items()}
    return [Source(name, own, len(own)) for name, own in records.items()], vocabularies
