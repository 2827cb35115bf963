"""What the page does with typed names, in node, against Python: cleaning, tokens, classes."""

import gzip
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fo1.errors import QueryError
from fo1.lexicon import RULES, Lexicon
from fo1.pipeline.loading import packaged_folder
from fo1.prompts import clean_name
from tests.onnx.conftest import WEB

SCRIPT = """
import { readFileSync } from "node:fs";
const [web, folder, file] = process.argv.slice(2);
const { Lexicon } = await import(`${web}/fo1/lexicon.js`);
const { Tokenizer } = await import(`${web}/fo1/tokenizer.js`);
const { cleanName } = await import(`${web}/fo1/names.js`);
const read = (path) => JSON.parse(readFileSync(path, "utf-8"));
const { names, rules } = read(file);
const lexicon = new Lexicon(read(`${folder}/lexicon.json`), rules);
const tokenizer = new Tokenizer(read(`${folder}/tokenizer.json`));
const rows = names.map((given) => {
  let name;
  try { name = cleanName(given); } catch { return null; }
  const classes = ["imagenet", "coco"].map((source) => lexicon.classes(name, source));
  return { name, ids: tokenizer.encode(name), classes, bare: lexicon.isName(name) };
});
console.log(JSON.stringify(rows));
"""
NOUNS = ["cup", "dogs", "coffee cups", "teddy bear", "wine glass", "knives", "women", "boxes"]
FRAMES = [
    *("{}", "the {}", "a pair of {}", "3 {}", "red and white {}", "the {} on the left"),
    *("{} next to the {}", "man riding {}", "{}, {}", "left {}", "a {} sitting there", "{}'s ear"),
    *("UPPER {}", "  {} \t", "{}?!", "{} of {}", "two {} and a {}", "all {} without {}"),
]
ODD = [
    *("", "   ", "<region3>", "<cup>", "a < b", "a<b> c>", "<|im_end|>", "<ground>cat</ground>"),
    *("caf\u00e9", "cafe\u0301", "\u0130stanbul", "\u03a3\u03a3", "\u732b", "\ud55c\uad6d\uc5b4"),
    *("\U0001f600 cup", "x\u0338", "\u0338", "=\u0338", "\xb2", "\u2460", "\ufb01sh", "stra\xdfe"),
    *(
        "a\u00a0b",
        "a\u2003b",
        "don't",
        "'S",
        "it'LL",
        "10",
        "x86_64",
        "a--b",
        "\u00bd cup",
        "\u200b",
    ),
]


@pytest.fixture(scope="module")
def names() -> list[str]:
    rng = random.Random(0)
    lines = (packaged_folder() / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    known = sorted(Lexicon.load()._senses)
    words = [*NOUNS, *rng.sample(known, 3000)]
    phrases = [frame.format(*rng.choices(words, k=2)) for frame in FRAMES for _ in range(100)]
    noise = ["".join(rng.choices("abcs <>=,.'-_\u00e9\u03c3\u0338 09", k=9)) for _ in range(1000)]
    return [*lines, *words, *phrases, *noise, *ODD]


@pytest.fixture(scope="module")
def answers(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    place, nano = tmp_path_factory.mktemp("web"), packaged_folder()
    (place / "lexicon.json").write_bytes(gzip.decompress((nano / "lexicon.json.gz").read_bytes()))
    shutil.copyfile(nano / "tokenizer.json", place / "tokenizer.json")
    asked, script = place / "names.json", place / "script.mjs"
    asked.write_text(json.dumps({"names": names, "rules": RULES}), encoding="utf-8")
    script.write_text(SCRIPT, encoding="utf-8")
    words: list[str | Path] = [node, script, WEB.as_uri(), place, asked]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_mean_the_same_in_the_page(names: list[str], answers: list[Any]) -> None:
    from tokenizers import Tokenizer

    lexicon = Lexicon.load()
    tokenizer = Tokenizer.from_file(str(packaged_folder() / "tokenizer.json"))
    assert len(names) > 6000
    wrong: list[tuple[str, Any, Any]] = []
    for given, found in zip(names, answers, strict=True):
        try:
            name = clean_name(given)
        except QueryError:
            expected = None
        else:
            expected = {
                "name": name,
                "ids": tokenizer.encode(name, add_special_tokens=False).ids,
                "classes": [list(lexicon.classes(name, s)) for s in ("imagenet", "coco")],
                "bare": lexicon.is_name(name),
            }
        if found != expected:
            wrong.append((given, found, expected))
    assert not wrong, (len(wrong), wrong[:5])
    assert sum(bool(one and one["classes"][0]) for one in answers) > 1000
    assert sum(one is None for one in answers) >= 2
