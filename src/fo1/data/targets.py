"""What is known of a record's names and expressions, once its regions are drawn: targets for the score head.

Nothing is claimed that the record does not say. A name is only called absent, or its list complete, where it was
looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fo1.data.negatives import Vocabulary, choose
from fo1.data.regions import NOBODY, RegionSet
from fo1.data.sample import UNKNOWN, Query
from fo1.data.schema import Record
from fo1.prompts import Task

if TYPE_CHECKING:
    from fo1.data.sampling import Sampling


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What can be said of one record with its regions; N regions.

    Args:
        record: what is known.
        regions: what is shown.
        settings: what may be asked.
        vocabulary: of the data set.
        rng: source of chance.
    """

    record: Record
    regions: RegionSet
    settings: "Sampling"
    vocabulary: Vocabulary
    rng: np.random.Generator

    def present(self) -> list[str]:
        """Return a name of each kind of thing there: its own, or any that is true of it where synonyms are on."""
        found: dict[str, str] = {}
        for one in self.record.objects:
            if one.names and not one.crowd and one.names[0] not in found:
                several = self.settings.synonyms and self.rng.random() < 0.4
                place = int(self.rng.integers(len(one.names))) if several else 0
                found[one.names[0]] = one.names[place]
        return list(dict.fromkeys(found.values()))

    def absent(self) -> list[str]:
        """Return the names that were looked for and are true of nothing."""
        record = self.record
        there = {n for one in record.objects for n in (*one.names, *one.unsure)}
        there |= {*record.partial, *(count.noun for count in record.counts if count.number)}
        there = {name.casefold() for name in there}
        known = dict.fromkeys((*record.absent, *record.looked_for))
        return [name for name in known if name.casefold() not in there]

    def negatives(self, count: int) -> list[str]:
        """Return absent names, likely confusions first where hard negatives are on."""
        absent = self.absent()
        chosen: list[str] = []
        if self.settings.hard_negatives:
            there = dict.fromkeys(name for one in self.record.objects for name in one.names)
            hard = self.vocabulary.hard(list(there), absent)
            chosen = choose(hard[: 2 * count], (count + 1) // 2, self.rng)
        rest = [name for name in absent if name not in chosen]
        return chosen + choose(rest, count - len(chosen), self.rng)

    def targets(self, name: str) -> npt.NDArray[np.float32]:
        """Return (N,) what each region is to a name: 1 it shows it, 0 it does not, `UNKNOWN`."""
        record, regions = self.record, self.regions
        said = [name in one.names for one in record.objects]
        unsure = [name in one.unsure for one in record.objects]
        unsaid = 0.0 if self.looked_for(name) else UNKNOWN
        found = np.full(len(regions), unsaid, np.float32)
        shown = regions.shows
        for region in np.flatnonzero(shown != NOBODY):
            if record.objects[shown[region]].names:  # all that are true of it
                found[region] = UNKNOWN if unsure[shown[region]] else 0.0
        for thing in range(len(record.objects)):
            if said[thing] or unsure[thing]:
                found[regions.touches[:, thing]] = UNKNOWN
        for region in np.flatnonzero(shown != NOBODY):
            if said[shown[region]]:
                found[region] = 1.0
        return found

    def queries(self) -> tuple[Query, ...]:
        """Return names and expressions with their targets, shuffled."""
        settings, rng = self.settings, self.rng
        found = [Query(n, self.targets(n)) for n in choose(self.present(), settings.positives, rng)]
        found += [Query(n, self.targets(n)) for n in self.negatives(settings.negatives)]
        for phrase in (
            self.record.phrases[int(i)] for i in rng.permutation(len(self.record.phrases))
        ):
            if sum(q.task == Task.REFER for q in found) < settings.expressions:
                found.append(
                    Query(phrase.text, self._phrase_targets(phrase.objects), str(Task.REFER))
                )
        return tuple(found[int(i)] for i in rng.permutation(len(found)))

    def looked_for(self, name: str) -> bool:
        """Return whether every instance of a name is known."""
        record = self.record
        return (name in record.looked_for or name in record.absent) and name not in record.partial

    def members(self, name: str) -> list[int] | None:
        """Return the regions of all things of a name, in rising order; None where one lacks a region or is unsure."""
        record = self.record
        if name in record.partial or any(
            name in one.unsure or (one.crowd and name in one.names) for one in record.objects
        ):
            return None
        found = [self.regions.region_of(i) for i, o in enumerate(record.objects) if name in o.names]
        known = sorted({region for region in found if region is not None})
        return None if None in found else known

    def _phrase_targets(self, objects: Sequence[int]) -> npt.NDArray[np.float32]:
        found = np.zeros(len(self.regions), np.float32)
        for thing in objects:
            found[self.regions.touches[:, thing]] = UNKNOWN
        for thing in objects:
            found[self.regions.shows == thing] = 1.0
        return found
