"""What is asked about a record, once its regions are drawn: targets for the score head, dialogues for the writer.

Nothing is claimed that the record does not say. A name is only called absent, or its list complete, where it was
looked for; a list is only written where every one of its objects has a region.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fo1 import prompts, tags
from fo1.data.negatives import Vocabulary, choose
from fo1.data.regions import NOBODY, RegionSet
from fo1.data.sample import UNKNOWN, Dialogue, Query
from fo1.data.schema import Record
from fo1.data.templates import wording
from fo1.layout import query_branch
from fo1.prompts import Task

if TYPE_CHECKING:
    from fo1.data.sampling import Sampling

GENERAL = "general"
Turns: TypeAlias = tuple[tuple[str, str], ...] | None
"""Questions and answers; None where the record cannot teach the task."""
_LIST = re.compile(rf"(?<={tags.OBJECTS_OPEN})(?:<region[0-9]+>)+(?={tags.OBJECTS_CLOSE})")


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """Questions about one record with its regions.

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

    def targets(self, name: str) -> np.ndarray:
        """Return (N,) what each region is to a name: 1 it shows it, 0 it does not, `UNKNOWN`."""
        record, regions = self.record, self.regions
        said = [name in one.names for one in record.objects]
        unsure = [name in one.unsure for one in record.objects]
        unsaid = 0.0 if self._looked_for(name) else UNKNOWN
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

    def _phrase_targets(self, objects: Sequence[int]) -> np.ndarray:
        found = np.zeros(len(self.regions), np.float32)
        for thing in objects:
            found[self.regions.touches[:, thing]] = UNKNOWN
        for thing in objects:
            found[self.regions.shows == thing] = 1.0
        return found

    def dialogues(self) -> tuple[Dialogue, ...]:
        """Return as many dialogues as the settings ask for, of tasks that the record can teach."""
        makers: dict[str, Callable[[], Turns]] = {
            GENERAL: self._general,
            Task.DETECT: self._detect,
            Task.REFER: self._refer,
            Task.COUNT: self._count,
            Task.DESCRIBE: self._describe,
            Task.READ: self._read,
            Task.GROUND: self._ground,
            Task.SIMILAR: self._similar,
        }
        made: list[Dialogue] = []
        makers = makers if self.record.pictures else {GENERAL: self._general}
        open_tasks = {t: w for t, w in self.settings.tasks.items() if t in makers and w > 0}
        while open_tasks and len(made) < self.settings.dialogues:
            names = list(open_tasks)
            shares = np.array([open_tasks[name] for name in names], float)
            task = names[int(self.rng.choice(len(names), p=shares / shares.sum()))]
            turns = makers[task]()
            if turns is None:
                del open_tasks[task]
            elif Dialogue(turns, str(task)) not in made:
                made.append(Dialogue(turns, str(task)))
            else:
                open_tasks[task] /= 2
                if open_tasks[task] < 1e-3:
                    del open_tasks[task]
        return tuple(made)

    def _looked_for(self, name: str) -> bool:
        """Return whether every instance of a name is known."""
        record = self.record
        return (name in record.looked_for or name in record.absent) and name not in record.partial

    def _word(self, task: Task, published: str, slot: str) -> str:
        return wording(str(task), published, slot, self.settings.templates, self.rng)

    def _members(self, name: str) -> list[int] | None:
        """Return the regions of all things of a name, in rising order; None where one lacks a region or is unsure."""
        record = self.record
        if name in record.partial or any(
            name in one.unsure or (one.crowd and name in one.names) for one in record.objects
        ):
            return None
        found = [self.regions.region_of(i) for i, o in enumerate(record.objects) if name in o.names]
        known = sorted({region for region in found if region is not None})
        return None if None in found else known

    def _listing(self, name: str, regions: Sequence[int]) -> str:
        listed = "".join(map(tags.region_token, regions)) or tags.NONE_TEXT
        return f"{query_branch(prompts.clean_name(name))}{listed}{tags.OBJECTS_CLOSE}"

    def _detect(self) -> Turns:
        present = [n for n in self.present() if self._looked_for(n) and self._members(n)]
        names = choose(present, int(self.rng.integers(1, 4)), self.rng)
        names += self.negatives(int(self.rng.integers(0, 3)) if names else 1)
        names = list(dict.fromkeys(names[int(i)] for i in self.rng.permutation(len(names))))
        listed = [(name, self._members(name)) for name in names]
        if not names or any(regions is None for _, regions in listed):
            return None
        answer = "".join(
            self._listing(name, regions or ())
            for name, regions in listed
            if regions or self.settings.say_none
        )
        if not answer:
            return None
        slot = ", ".join(map(prompts.clean_name, names))
        return ((self._word(Task.DETECT, prompts.detect(names), slot), answer),)

    def _refer(self) -> Turns:
        usable = [
            (phrase, regions)
            for phrase in self.record.phrases
            if None not in (regions := [self.regions.region_of(i) for i in phrase.objects])
            and (phrase.objects or self.settings.say_none)
        ]
        if not usable:
            return None
        phrase, regions = usable[int(self.rng.integers(len(usable)))]
        listed = self._listing(phrase.text, sorted({r for r in regions if r is not None}))
        slot = prompts.clean_name(phrase.text)
        return ((self._word(Task.REFER, prompts.refer(phrase.text), slot), listed),)

    def _count(self) -> Turns:
        told = {count.noun: count.number for count in self.record.counts}
        names = [n for n in self.present() if self._looked_for(n)]
        names += [*told, *self.negatives(1)]
        for name in choose(list(dict.fromkeys(names)), len(names), self.rng):
            regions = self._members(name)
            number = told.get(name, None if regions is None else len(regions))
            if number is None or (regions is not None and regions and len(regions) != number):
                continue
            known = regions is not None and len(regions) == number
            if not known and name in told:  # a number without boxes is learned alone
                answer = str(number)
            elif number or self.settings.say_none:
                answer = f"{self._listing(name, regions or ())} {number}"
            else:
                continue
            slot = prompts.clean_name(name)
            return ((self._word(Task.COUNT, prompts.count(name), slot), answer),)
        return None

    def _one_region(self, task: Task, say: Callable[[int], Sequence[str]]) -> Turns:
        shown = [r for r in range(len(self.regions)) if self.regions.shows[r] != NOBODY]
        usable = [r for r in shown if say(int(self.regions.shows[r]))]
        if not usable:
            return None
        region = usable[int(self.rng.integers(len(usable)))]
        texts = say(int(self.regions.shows[region]))
        answer = texts[int(self.rng.integers(len(texts)))]
        published = prompts.read([region]) if task is Task.READ else prompts.describe([region])
        return ((self._word(task, published, tags.region_token(region)), answer),)

    def _describe(self) -> Turns:
        objects = self.record.objects

        def say(thing: int) -> Sequence[str]:
            one = objects[thing]
            said = [self._renumbered(text) for text in one.descriptions]
            return [text for text in said if text is not None] or [*map(_clean, one.names[:1])]

        return self._one_region(Task.DESCRIBE, say)

    def _read(self) -> Turns:
        objects = self.record.objects
        return self._one_region(Task.READ, lambda thing: [*map(_clean, objects[thing].texts)])

    def _ground(self) -> Turns:
        texts = [t for t in map(self._renumbered, self.record.captions) if t is not None]
        if not texts:
            return None
        text = texts[int(self.rng.integers(len(texts)))]
        return ((self._word(Task.GROUND, prompts.ground(), ""), text),)

    def _similar(self) -> Turns:
        own = [one.names[0] if one.names else None for one in self.record.objects]
        lists = [
            (name, regions)
            for name in dict.fromkeys(own)
            if name is not None
            and self._looked_for(name)
            and (regions := self._members(name))
            and (len(regions) > 1 or self.settings.say_none)
        ]
        if not lists:
            return None
        name, regions = lists[int(self.rng.integers(len(lists)))]
        # A thing that has the name only besides its own is found, but does not stand for the kind.
        examples = [r for r in regions if own[self.regions.shows[r]] == name]
        example = examples[int(self.rng.integers(len(examples)))]
        listed = self._listing(name, [region for region in regions if region != example])
        slot = tags.region_token(example)
        return ((self._word(Task.SIMILAR, prompts.similar(example), slot), listed),)

    def _general(self) -> Turns:
        if not self.record.turns:
            return None
        turns: list[tuple[str, str]] = []
        for turn in self.record.turns:
            question, answer = self._renumbered(turn.question), self._renumbered(turn.answer)
            if question is None or answer is None:
                return None
            turns.append((question, answer))
        return tuple(turns)

    def _renumbered(self, text: str) -> str | None:
        """Return a text in which objects are called by their regions; None if one has none."""
        numbers: dict[int, int] = {}
        for thing in set(tags.regions_in(text)):
            region = self.regions.region_of(thing)
            if region is None:
                return None
            numbers[thing] = region
        return _LIST.sub(lambda run: _rising(run[0]), tags.renumber(text, numbers))


def _rising(listed: str) -> str:
    return "".join(map(tags.region_token, sorted(tags.regions_in(listed))))


def _clean(text: str) -> str:
    return tags.neutralise(text.strip())
