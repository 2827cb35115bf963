"""Plurals and articles of the English names of things."""

from __future__ import annotations

_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "mouse": "mice",
    "goose": "geese",
    "foot": "feet",
    "tooth": "teeth",
    "leaf": "leaves",
    "knife": "knives",
    "wolf": "wolves",
    "ox": "oxen",
    "fireman": "firemen",
    "policeman": "policemen",
    "spaceman": "spacemen",
    "human": "humans",
    "die": "dice",
    "loaf": "loaves",
}
_SAME = frozenset(
    {
        "sheep",
        "deer",
        "fish",
        "bison",
        "moose",
        "shrimp",
        "squid",
        "aircraft",
        "dna",
        "tropical fish",
        "jellyfish",
        "pufferfish",
        "blowfish",
    }
)
# No "how many": plural already, or a name for stuff rather than for things.
_UNCOUNTED_WORDS = """
    grapes cherries blueberries peanuts beans pancakes chopsticks bricks skis dolls glasses
    sunglasses goggles jeans pants trousers gloves socks briefs shorts underpants headphones
    maracas scissors scales swords bubbles lungs footprints dice eyes meatballs peas flowers
    books eyeglasses spectacles lips olives leaves fries chips noodles bread corn bacon popcorn
    cheese butter lettuce broccoli garlic money clothing furniture jewelry footwear food fruit
    dessert cutlery cattle milk beer coffee spaghetti sushi curry meat candy underwear fungus soap
    coral salad pasta pastry chocolate paper rice salt ice stone fire lightning blood film ramen
    soup drink wood maize ginger champagne sake pizza oden falafel earth sweet toast luggage
    cabbage wrap elk buffalo snorkel target letter braces hair ribbon balance"""
UNCOUNTED = frozenset(_UNCOUNTED_WORDS.split()) | frozenset(
    {
        "french fries",
        "bowling pins",
        "theater masks",
        "nesting dolls",
        "shopping bags",
        "ballet shoes",
        "toilet paper",
        "sheet music",
        "paw prints",
        "soap bubbles",
        "fork and knife",
        "shaved ice",
        "french bread",
        "cup with straw",
        "ice cream",
        "evil eye amulet",
        "kiwi fruit",
        "bow and arrow",
        "meat on the bone",
        "curry rice",
        "prayer beads",
        "table tennis bat",
    }
)


def plural(noun: str) -> str:
    """Return the English plural of a noun phrase ("cup of coffee" gives "cups of coffee")."""
    for joint in (" of ", " on the ", " in "):
        if joint in noun:
            head, _, tail = noun.partition(joint)
            return plural(head) + joint + tail
    head, space, last = noun.rpartition(" ")
    if noun in _SAME or last in _SAME:
        return noun
    if last in _IRREGULAR:
        return head + space + _IRREGULAR[last]
    if last.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        return noun[:-1] + "ies"
    if last in (
        "potato",
        "tomato",
        "mango",
        "mosquito",
        "volcano",
        "flamingo",
        "hero",
        "superhero",
    ):
        return noun + "es"
    return noun + "s"


def article(noun: str) -> str:
    """Return the noun with "a" or "an"; plural names stay bare."""
    if noun in UNCOUNTED and noun.endswith("s"):
        return noun
    vowel = noun[0] in "aeiou" and not noun.startswith(("uni", "ufo", "eu", "one"))
    return f"{'an' if vowel or noun.startswith(('hour', 'x-')) else 'a'} {noun}"
