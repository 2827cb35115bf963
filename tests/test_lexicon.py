"""The lexicon: which names mean which classes, and that no text makes it raise."""

import random
from pathlib import Path

import pytest

from fo1.errors import QueryError
from fo1.lexicon import Lexicon, Source, normalise


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.load()


def found(lexicon: Lexicon, name: str, source: Source) -> set[str]:
    names = lexicon.names(source)
    return {names[index] for index in lexicon.classes(name, source)}


IMAGENET = [
    # name, some members, some that are not
    ("dog", "beagle|golden retriever|pug|toy poodle", "timber wolf|hotdog|Madagascar cat|dingo"),
    ("poodle", "toy poodle|miniature poodle|standard poodle", "beagle"),
    ("puppy", "beagle|Pembroke", "hamster"),
    ("cat", "tabby|tiger cat|Persian cat|Siamese cat|Egyptian cat", "lion|lynx|Madagascar cat"),
    ("tabby", "tabby", "Egyptian cat|tiger cat"),
    ("big cat", "lion|tiger|leopard|cheetah", "tabby"),
    ("cup", "cup|coffee mug|espresso", "teapot|goblet"),
    ("mug", "coffee mug", "cup"),
    ("vehicle", "minivan|bullet train|canoe|airliner|school bus|mountain bike", "car wheel|dam"),
    ("car", "sports car|jeep|cab|convertible", "freight car|passenger car|trailer truck"),
    ("truck", "fire engine|garbage truck|pickup", "sports car"),
    ("bike", "mountain bike|bicycle-built-for-two", "moped"),
    ("train", "bullet train|steam locomotive|freight car", "school bus"),
    ("boat", "canoe|speedboat|yawl|gondola", "container ship"),
    ("plane", "airliner|carpenter's plane", "airship"),
    ("crane", "crane bird|crane", "flamingo"),
    ("mouse", "mouse", "hamster"),
    ("orange", "orange", "lemon"),
    ("fruit", "strawberry|banana|Granny Smith|pineapple", "acorn|corn|cucumber"),
    ("vegetable", "broccoli|cucumber|artichoke", "banana"),
    ("food", "pizza|bagel|broccoli|banana", "tabby|plate rack"),
    ("animal", "tabby|tench|tarantula|ostrich", "teddy|daisy|hotdog"),
    ("bird", "robin|ostrich|bald eagle|macaw", "bee|bat"),
    ("bird of prey", "bald eagle|kite bird|vulture", "robin"),
    ("fish", "goldfish|tench|eel", "jellyfish|starfish|grey whale"),
    ("chicken", "cock|hen", "prairie chicken"),
    ("cow", "ox", "ram"),
    ("rabbit", "hare|wood rabbit|Angora", "hamster"),
    ("bunny", "hare|wood rabbit", "hamster"),
    ("polar bear", "ice bear", "brown bear"),
    ("panda", "giant panda|lesser panda", "brown bear"),
    ("guinea pig", "guinea pig", "hog"),
    ("sea lion", "sea lion", "lion"),
    ("lion", "lion", "sea lion"),
    ("insect", "bee|ant|dragonfly|monarch", "tarantula|tick"),
    ("hot dog", "hotdog", "beagle"),
    ("furniture", "desk|rocking chair|bookcase|studio couch", "refrigerator|lamp"),
    ("sofa", "studio couch", "four-poster"),
    ("table", "dining table|desk|pool table", "table lamp"),
    ("person", "ballplayer|groom|scuba diver", "tabby"),
    ("musical instrument", "violin|drum|acoustic guitar|French horn", "chain saw"),
    ("clothes", "jean|cardigan|miniskirt|trench coat", "pillow|Cardigan"),
    ("cardigan", "cardigan|Cardigan", "Pembroke"),
    ("shoe", "sandal|Loafer|running shoe|clog", "sock"),
    ("hat", "cowboy hat|sombrero", "crash helmet|wig"),
    ("sunglasses", "sunglass|sunglasses", "loupe"),
    ("swimsuit", "maillot|maillot tank suit|bikini", "jersey"),
    ("missile", "missile|projectile", "airliner"),
    ("drumstick", "drumstick", "drum"),
    ("tv", "television", "radio"),
    ("phone", "cellular telephone|dial telephone|pay-phone", "iPod"),
    ("computer", "laptop|notebook|desktop computer", "web site|slide rule"),
    ("container", "bucket|wine bottle|backpack", "minivan|wooden spoon"),
    ("ball", "tennis ball|soccer ball|basketball", "bubble"),
    ("traffic light", "traffic light", "spotlight"),
    ("trash can", "ashcan", "bucket"),
    ("toilet paper", "toilet tissue", "paper towel"),
    ("ear", "", "ear of corn"),
    ("ear of corn", "ear of corn", ""),
    ("mushroom", "mushroom|agaric|bolete", "daisy"),
    ("weapon", "revolver|assault rifle|bow", "hammer"),
]


@pytest.mark.parametrize(("name", "members", "others"), IMAGENET)
def test_imagenet_members(lexicon: Lexicon, name: str, members: str, others: str) -> None:
    classes = found(lexicon, name, "imagenet")
    expected = {member for member in members.split("|") if member}
    assert expected <= classes
    assert not classes & {other for other in others.split("|") if other}


@pytest.mark.parametrize(
    ("name", "coco", "openimages"),
    [
        ("people", "person", "person"),
        ("woman", "person", "person"),
        ("men", "person", "person"),
        ("children", "person", "person"),
        ("bike", "bicycle", "bicycle"),
        ("motorbike", "motorcycle", ""),
        ("aeroplane", "airplane", ""),
        ("couch", "couch", ""),
        ("tv", "tv", ""),
        ("monitor", "tv", "computer monitor"),
        ("smartphone", "cell phone", ""),
        ("cup", "cup", "mug|coffee cup"),
        ("mug", "cup", "mug"),
        ("mouse", "mouse", "computer mouse"),
        ("hot dogs", "hot dog", ""),
        ("kite", "kite", ""),
        ("cattle", "cow", "cattle"),
        ("stop sign", "stop sign", ""),
        ("houseplant", "", ""),
        ("plant", "potted plant", ""),
        ("skis", "skis", ""),
        ("glasses", "wine glass", ""),
        ("footwear", "", "boot|high heels|footwear"),
        ("tabby", "", ""),
        ("fruit", "banana|apple|orange", ""),
        (
            "vehicle",
            "bicycle|car|motorcycle|airplane|bus|train|truck|boat|skateboard",
            "bicycle|vehicle|car",
        ),
        (
            "animal",
            "bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe",
            "cattle|cat|dog",
        ),
        ("furniture", "bench|chair|couch|bed|dining table", "chair|desk|table"),
    ],
)
def test_detector_classes(lexicon: Lexicon, name: str, coco: str, openimages: str) -> None:
    assert found(lexicon, name, "coco") == {row for row in coco.split("|") if row}
    assert found(lexicon, name, "openimages") == {row for row in openimages.split("|") if row}


@pytest.mark.parametrize(
    ("phrase", "head"),
    [
        ("dogs", "dog"),
        ("The Dogs.", "dog"),
        ("two oranges", "orange"),
        ("a red car", "car"),
        ("cell_phone", "cellphone"),
        ("the cup on the left", "cup"),
        ("leftmost cup", "cup"),
        ("the dog's bowl", "bowl"),
        ("the woman wearing a green scarf", "woman"),
        ("man riding horse", "man"),
        ("the brown dog sleeping on the sofa", "dog"),
        ("car parked nearby", "car"),
        ("black and white cat", "cat"),
        ("orange and white cat", "cat"),
        ("dogs and cats", "dog"),
        ("a slice of pizza", "pizza"),
        ("bunch of bananas", "banana"),
        ("bottle of beer", "bottle"),
        ("large bird of prey on a branch", "bird of prey"),
        ("pair of scissors", "pair of scissors"),
        ("swimming trunks", "swimming trunks"),
        ("jack-o'-lantern", "jack o lantern"),
        ("four-poster", "four poster"),
        ("T-shirts", "t shirt"),
        ("jelly fish", "jellyfish"),
        ("sealion", "sea lion"),
        ("knives", "knife"),
        ("women", "woman"),
        ("policemen", "policeman"),
        ("geese", "goose"),
        ("caf\u00e9", "cafe"),
        ("thing", None),
        ("the left one", None),
        ("dog wug", None),
        ("flibber", None),
        ("", None),
        ("\U0001f436", None),
    ],
)
def test_head_of_a_phrase(lexicon: Lexicon, phrase: str, head: str | None) -> None:
    assert lexicon.head(phrase) == head
    assert lexicon.knows(phrase) == (head is not None)
    if head is None:
        assert lexicon.classes(phrase, "imagenet") == ()
        assert lexicon.broader(phrase, "coco") == ()


@pytest.mark.parametrize(
    ("source", "count"), [("imagenet", 1000), ("coco", 80), ("openimages", 23)]
)
def test_each_class_is_found_by_its_own_name(lexicon: Lexicon, source: Source, count: int) -> None:
    names = lexicon.names(source)
    assert len(names) == count
    missed = [
        name for index, name in enumerate(names) if index not in lexicon.classes(name, source)
    ]
    assert missed == []


def test_all_dog_breeds_and_ascending_order(lexicon: Lexicon) -> None:
    assert lexicon.classes("dog", "imagenet") == tuple(range(151, 269))


@pytest.mark.parametrize(
    ("name", "coco"),
    [
        ("poodle", "dog"),
        ("tabby", "cat"),
        ("fireman", "person"),
        ("ambulance", "car"),
        ("desk", "dining table"),
        ("soccer ball", "sports ball"),
        ("dog", ""),
        ("hot dog", "sandwich"),
        ("guinea pig", ""),
        ("animal", ""),
    ],
)
def test_broader_classes(lexicon: Lexicon, name: str, coco: str) -> None:
    names = lexicon.names("coco")
    assert "|".join(names[index] for index in lexicon.broader(name, "coco")) == coco


@pytest.mark.parametrize(
    ("name_a", "name_b", "expected"),
    [
        ("dog", "animal", True),
        ("dogs", "a poodle", True),
        ("sofa", "couch", True),
        ("cup", "mug", True),
        ("man", "person", True),
        ("bag", "backpack", True),
        ("the red wug", "the red wug", True),
        ("dog", "cat", False),
        ("man", "woman", False),
        ("orange", "lemon", False),
        ("chair", "table", False),
        ("lion", "cat", True),
        ("wug", "dog", False),
    ],
)
def test_related(lexicon: Lexicon, name_a: str, name_b: str, expected: bool) -> None:
    assert lexicon.related(name_a, name_b) is expected
    assert lexicon.related(name_b, name_a) is expected


def test_terms_are_the_names_that_find_a_class(lexicon: Lexicon) -> None:
    for source in ("coco", "openimages"):
        for index, terms in enumerate(lexicon.terms(source)):
            assert terms
            assert all(index in lexicon.classes(term, source) for term in terms)
    assert {"cat", "animal", "tabby cat"} <= set(lexicon.terms("imagenet")[281])


def test_junk_never_raises(lexicon: Lexicon) -> None:
    generator = random.Random(0)
    letters = "ab es'\"_-.,;:()[]|~\t\n\x00\u00e9\u4e2d\U0001f436 of on and the s 0123456789"
    for _ in range(300):
        text = "".join(generator.choices(letters, k=generator.randrange(60)))
        lexicon.classes(text, "imagenet")
        lexicon.broader(text, "coco")
        lexicon.related(text, "dog")
    assert lexicon.classes("of the on in and", "coco") == ()
    assert lexicon.classes("dog " * 100_000, "coco") == lexicon.classes("dog", "coco")


def test_unknown_source_says_which_exist(lexicon: Lexicon) -> None:
    with pytest.raises(QueryError, match=r"'lvis'.*imagenet.*coco.*openimages"):
        lexicon.classes("dog", "lvis")  # type: ignore[arg-type]


def test_load_takes_a_path(lexicon: Lexicon, tmp_path: Path) -> None:
    import fo1

    asset = Path(fo1.__file__).parent / "assets" / "nano" / "lexicon.json.gz"
    copy = tmp_path / "lexicon.json.gz"
    copy.write_bytes(asset.read_bytes())
    assert copy.stat().st_size < 500_000
    assert len(Lexicon.load(copy)) == len(lexicon) > 50_000


def test_normalise() -> None:
    assert normalise("  The_Jack-o'-Lantern (LARGE)! ") == "the jack o lantern , large"


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("dog", True),
        ("the dogs", True),
        ("traffic light", True),
        ("the dog on the left", False),
        ("red car", False),
        ("the largest cat", False),
        ("qwzx", False),
        ("", False),
    ],
)
def test_is_name_tells_names_from_expressions(phrase: str, expected: bool) -> None:
    assert Lexicon.load().is_name(phrase) is expected
