"""Expressions that several people wrote about one picture: each text once, and none that is unclear."""

from collections.abc import Iterable

from fo1.data.schema import Phrase


def clear_phrases(phrases: Iterable[Phrase]) -> tuple[Phrase, ...]:
    """Return every expression once, without those that mean different objects in different places.

    "The man" of two sentences may be two men: whoever is asked for him cannot know which.

    Args:
        phrases: of one picture; the order of their objects does not matter.
    """
    first: dict[str, Phrase] = {}
    unclear: set[str] = set()
    for one in phrases:
        text = one.text.casefold()
        if set(first.setdefault(text, one).objects) != set(one.objects):
            unclear.add(text)
    return tuple(one for text, one in first.items() if text not in unclear)
