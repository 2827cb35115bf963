"""Records with proposals: a proposer runs once per picture, and what it found is kept in a folder."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np

from fo1.data.schema import Record
from fo1.data.storage import open_picture
from fo1.proposals import Proposer
from fo1.results import Proposals


class ProposedRecords(Sequence[Record]):
    """Records whose pictures all have proposals; those that a record brings are kept.

    Args:
        records: any records.
        proposer: where boxes come from.
        folder: what was found is kept there, one file per record.
        source: name of the records, since records of two sources may have one key.
    """

    def __init__(
        self, records: Sequence[Record], proposer: Proposer, folder: Path, source: str = ""
    ) -> None:
        self.records, self.proposer, self.folder, self.source = records, proposer, folder, source

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "list[Record]": ...
    def __getitem__(self, index: int | slice) -> "Record | list[Record]":
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        record = self.records[index]
        if record.proposals or not record.pictures:
            return record
        return replace(record, proposals=self._propose(record))

    def _propose(self, record: Record) -> tuple[Proposals, ...]:
        digest = hashlib.sha256(
            f"{self.proposer.name}/{self.source}/{record.key}".encode()
        ).hexdigest()[:24]
        file = self.folder / f"{digest}.npz"
        count = len(record.pictures)
        if file.exists():
            with np.load(file) as stored:
                return tuple(
                    Proposals(stored[f"boxes{i}"], stored[f"scores{i}"], self.proposer.name)
                    for i in range(count)
                )
        found = tuple(self.proposer.propose(open_picture(record, i)) for i in range(count))
        arrays = {f"boxes{i}": one.boxes for i, one in enumerate(found)}
        arrays |= {f"scores{i}": one.scores for i, one in enumerate(found)}
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.stem}.{os.getpid()}.part.npz")
        np.savez(part, allow_pickle=False, **arrays)
        part.replace(file)
        return found
