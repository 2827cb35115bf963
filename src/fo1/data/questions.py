"""What is asked about a record, once its regions are drawn, and how it is answered: dialogues for the language model.

A list is only written where every one of its objects has a region; `targets` says what may be claimed.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from fo1 import prompts, tags
from fo1.data.negatives import choose
from fo1.data.regions import NOBODY
from fo1.data.sample import Dialogue
from fo1.data.targets import Known
from fo1.data.templates import wording
from fo1.layout import query_branch
from fo1.prompts import Task

GENERAL = "general"
DETAILED = 20
"""Words from which a description is asked for as a detailed one."""
Turns: TypeAlias = tuple[tuple[str, str], ...] | None
"""Questions and answers; None where the record cannot teach the task."""
_LIST = re.compile(rf"(?<={tags.OBJECTS_OPEN})(?:<region[0-9]+>)+(?={tags.OBJECTS_CLOSE})")


class Asker:
    """Questions about one record with its regions.

    Args:
        known: what can be said of it.
    """

    def __init__(self, known: Known):
        self.known, self.record, self.regions = known, known.record, known.regions
        self.settings, self.rng = known.settings, known.rng

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

    def _word(self, task: Task, published: str, slot: str, group: str = "") -> str:
        return wording(group or str(task), published, slot, self.settings.templates, self.rng)

    def _listing(self, name: str, regions: Sequence[int]) -> str:
        listed = "".join(map(tags.region_token, regions)) or tags.NONE_TEXT
        return f"{query_branch(prompts.clean_name(name))}{listed}{tags.OBJECTS_CLOSE}"

    def _detect(self) -> Turns:
        present = [
            n for n in self.known.present() if self.known.looked_for(n) and self.known.members(n)
        ]
        names = choose(present, int(self.rng.integers(1, 4)), self.rng)
        names += self.known.negatives(int(self.rng.integers(0, 3)) if names else 1)
        names = list(dict.fromkeys(names[int(i)] for i in self.rng.permutation(len(names))))
        listed = [(name, self.known.members(name)) for name in names]
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
        names = [n for n in self.known.present() if self.known.looked_for(n)]
        names += [*told, *self.known.negatives(1)]
        for name in choose(list(dict.fromkeys(names)), len(names), self.rng):
            regions = self.known.members(name)
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
        slot = tags.region_token(region)
        if task is Task.READ:
            return ((self._word(task, prompts.read([region]), slot), answer),)
        detail = "detailed" if len(answer.split()) >= DETAILED else "brief"
        published = prompts.describe([region], detail)
        return ((self._word(task, published, slot, f"{task}, {detail}"), answer),)

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
            and self.known.looked_for(name)
            and (regions := self.known.members(name))
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
