"""Fixed words of the claims: a probe of instructions, other prompts to keep abilities with, ordinary text.

No prompt of `general_prompts` holds a question of `PROBE`; `prepare.py` checks it.
"""

import re
from pydoc_data.topics import topics

PROBE: tuple[tuple[str, str], ...] = (
    ("What is 2 + 3? Answer with the number.", "5"),
    ("What is 7 + 1? Answer with the number.", "8"),
    ("What is 10 - 4? Answer with the number.", "6"),
    ("What is 3 times 3? Answer with the number.", "9"),
    ("What is 5 + 5? Answer with the number.", "10"),
    ("What is 20 - 10? Answer with the number.", "10"),
    ("How many days are in a week? Answer with the number.", "7|seven"),
    ("How many months are in a year? Answer with the number.", "12|twelve"),
    ("How many legs does a spider have? Answer with the number.", "8|eight"),
    ("How many wheels does a bicycle have? Answer with the number.", "2|two"),
    ("What is the capital of France?", "paris"),
    ("What is the capital of Italy?", "rome"),
    ("What is the capital of Japan?", "tokyo"),
    ("What is the capital of Germany?", "berlin"),
    ("What is the capital of Spain?", "madrid"),
    ("What is the capital of Egypt?", "cairo"),
    ("What is the capital of Russia?", "moscow"),
    ("What is the capital of China?", "beijing"),
    ("What is the opposite of hot?", "cold"),
    ("What is the opposite of up?", "down"),
    ("What is the opposite of big?", "small|little"),
    ("What is the opposite of day?", "night"),
    ("What is the opposite of left?", "right"),
    ("What is the opposite of fast?", "slow"),
    ("What colour is the sky on a clear day?", "blue"),
    ("What colour is grass?", "green"),
    ("What colour is fresh snow?", "white"),
    ("Which planet do we live on?", "earth"),
    ("What is frozen water called?", "ice"),
    ("Which animal says meow?", "cat"),
)
"""Questions and, divided by "|", the words of which one has to stand in the answer."""

_THINGS = (
    *("a volcano", "a poem", "a bridge", "honey", "a magnet", "rain", "a library", "bread"),
    *("a teacher", "a desert", "music", "a telescope", "a garden", "salt", "a river", "a clock"),
    *("wind", "a hospital", "paper", "a battery", "a market", "glass", "a forest", "a story"),
    *("a bicycle lane", "sleep", "a harbour", "soil", "a camera", "an orchestra", "wool", "a map"),
    *("thunder", "a lighthouse"),
)
_FORMS = (
    "Explain in one sentence what {} is.",
    "Write one sentence about {} for a child.",
    "Name two words that go with {}.",
)


def general_prompts() -> list[str]:
    """Return the prompts that the untouched language model answers itself."""
    return [form.format(thing) for form in _FORMS for thing in _THINGS]


def ordinary_text() -> str:
    """Return English prose of some length: the language reference that Python's standard library carries."""
    chosen = ("assignment", "class", "with", "exceptions", "function", "while", "naming", "import")
    pages = [topics[name] for name in chosen]
    return re.sub(r"[ \t]+", " ", re.sub(r"\n{2,}", "\n\n", "\n\n".join(pages)))


def is_right(answer: str, expected: str) -> bool:
    """Return whether one of the expected words stands in an answer, in either case."""
    words = set(re.findall(r"[a-z]+|[0-9]+", answer.lower()))
    return bool(words & set(expected.split("|")))
