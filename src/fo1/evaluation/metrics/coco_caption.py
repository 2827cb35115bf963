"""What of the COCO caption scorer is written in Java: its tokenizer and METEOR, where installed.

pycocoevalcap brings both as jars; they are run here directly, with a time limit and nothing written
beside them. Whatever goes wrong (no package, no Java, a crash) makes a `Missing` with the reason.

Source: salaniz/pycocoevalcap, tokenizer/ptbtokenizer.py and meteor/meteor.py (commands, protocol).
"""

import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

TOKENIZER = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR = "meteor/meteor-1.5.jar"
SECONDS = 3600
CURE = "pip install pycocoevalcap, and have `java` on the path"

_PUNCTUATION = frozenset(("''", "'", "``", "`", *".?!,:;-", "--", "..."))
"""What the COCO caption scorer leaves out; its brackets, in upper case, never come after -lowerCase."""

Tokens: TypeAlias = tuple[str, ...]


class Missing(Exception):
    """Raised when a jar cannot be run; says why in one line."""


def ptb_tokens(sentences: Sequence[str]) -> list[Tokens]:
    """Return the words of each sentence as the COCO caption scorer has them: lower case, no punctuation.

    Raises:
        Missing: the tokenizer cannot be run.
    """
    lines = [" ".join(sentence.split()) for sentence in sentences]
    command = ["-cp", TOKENIZER, "edu.stanford.nlp.process.PTBTokenizer"]
    written = _java([*command, "-preserveLines", "-lowerCase"], TOKENIZER, lines)
    if len(written) != len(lines):
        raise Missing(f"the tokenizer gave {len(written)} lines for {len(lines)} sentences")
    return [tuple(w for w in line.split() if w not in _PUNCTUATION) for line in written]


def meteor(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """Return METEOR of each caption, 0 to 1, and behind them that of all together.

    Raises:
        Missing: METEOR cannot be run.
    """
    asked = [
        " ||| ".join(["SCORE", *map(_line, item), _line(caption)])
        for caption, item in zip(captions, references, strict=True)
    ]
    command = ["-Xmx2G", "-jar", METEOR, "-", "-", "-stdio", "-l", "en", "-norm"]
    counts = _java(command, METEOR, asked)
    scores = _java(command, METEOR, [" ||| ".join(["EVAL", *counts])])
    try:
        found = [float(score) for score in scores]
    except ValueError as error:
        raise Missing(f"METEOR wrote no number ({error})") from error
    if len(found) != len(captions) + 1:
        raise Missing(f"METEOR gave {len(found)} scores for {len(captions)} captions")
    return found


def _line(sentence: Tokens) -> str:
    return " ".join(word for word in sentence if "|||" not in word)


def _java(arguments: Sequence[str], jar: str, lines: Sequence[str]) -> list[str]:
    """Return what a Java program of the package writes when it reads some lines."""
    java, package = shutil.which("java"), find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise Missing(f"pycocoevalcap is not installed; {CURE}")
    if java is None:
        raise Missing(f"there is no java; {CURE}")
    folder = Path(package.submodule_search_locations[0])
    if not (folder / jar).is_file():
        raise Missing(f"pycocoevalcap lacks {jar}; {CURE}")
    try:
        done = subprocess.run(
            [java, "-Dfile.encoding=UTF-8", *arguments],
            cwd=folder,
            input="".join(f"{line}\n" for line in lines).encode("utf-8", "replace"),
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{Path(jar).name} failed ({type(error).__name__}); {CURE}") from error
    return done.stdout.decode("utf-8", "replace").removesuffix("\n").split("\n")
