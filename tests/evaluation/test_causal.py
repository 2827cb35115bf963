import numpy as np

from fo1.evaluation.causal import Pair, choose_pair, columns, contestant_rng, gap, swap_table
from fo1.evaluation.contestants import MODEL, SWAPPED, swapped
from fo1.evaluation.metrics.estimates import Estimate, resampling
from fo1.evaluation.predicting import Predictor
from fo1.evaluation.prediction import Prediction, Said
from tests.evaluation.toy import Toy


def said_of(scores: dict[tuple[str, int], float], count: int = 3, **fields) -> Prediction:
    example = Toy.of(1).examples[0]
    said = Said.found(scores, list(scores.values()), **fields)
    return Prediction.made(example, np.tile([0, 0, 9, 9], (count, 1)), said)


def test_columns_hold_what_every_region_got() -> None:
    head = np.array([0.9, 0.2])
    found = columns(said_of({("cat", 1): 0.5, ("cup", 0): 0.4}, evidence={"head": head}))
    assert {key: row.tolist() for key, row in found.items()} == {
        (0, "cat"): [0, 0.9, 0],
        (0, "cup"): [0.2, 0, 0],
    }
    written = columns(said_of({("cat", 1): 0.5}))  # a proposal's score says nothing of the model
    assert written[0, "cat"].tolist() == [0, 1, 0]
    texts = columns(said_of({}, texts={0: "a cat", 2: "a cat"}))
    assert texts[0, "a cat"].tolist() == [1, 0, 1]


def test_a_pair_was_answered_differently() -> None:
    prediction = said_of({("cat", 1): 1.0})
    for seed in range(5):
        pair = choose_pair(prediction, np.random.default_rng(seed))
        assert pair is not None
        assert (pair.high, pair.column) == (1, (0, "cat"))
        assert pair.low in (0, 2)
    assert choose_pair(said_of({}), np.random.default_rng(0)) is None
    alike = said_of({("cat", index): 1.0 for index in range(3)})
    assert choose_pair(alike, np.random.default_rng(0)) is None


def test_the_gap_is_above_0_when_the_answers_changed_sides() -> None:
    pair = Pair(1, 0, (0, "cat"))
    assert gap(said_of({("cat", 0): 1.0}), pair) == 1
    assert gap(said_of({("cat", 1): 1.0}), pair) == -1
    assert gap(said_of({("dog", 1): 1.0}), pair) == 0


def test_the_table_tells_reading_from_guessing() -> None:
    before = [said_of({("cat", 0): 1.0}, count=2)]
    reads = [said_of({("cat", 1): 1.0}, count=2)]
    options = {"pictures": [0], "weights": resampling(1, 10), "who": "swap", "seed": 0}
    rows = dict(swap_table(before, reads, before, **options).rows)
    share, pairs = rows["two regions swapped"]
    assert isinstance(share, Estimate)
    assert (share.value, pairs) == (100, "1")
    assert rows["nothing swapped"][0].value == rows["text only"][0].value == 0
    guesses = dict(swap_table(before, before, None, **options).rows)
    assert guesses["two regions swapped"][0].value == 0
    nothing = dict(swap_table([said_of({})], [said_of({})], None, **options).rows)
    assert nothing["two regions swapped"] == (None, "0")


def test_a_model_with_a_score_head_follows_its_region_embeddings(model) -> None:
    """Given boxes, two of which exchange embeddings: their scores must go with these."""
    task = Toy.of(8)
    told = Predictor(model, task, None, (MODEL, SWAPPED)).predict(task.examples)
    follows = 0
    for own, other in zip(told[MODEL.name], told[SWAPPED.name], strict=True):
        pair = choose_pair(own, contestant_rng(0, SWAPPED.name, own.key))
        follows += pair is not None and gap(other, pair) > 0
    pairs = [choose_pair(o, contestant_rng(0, SWAPPED.name, o.key)) for o in told[MODEL.name]]
    known = sum(pair is not None for pair in pairs)
    assert known >= 3
    assert follows >= 0.7 * known


def test_swapping_needs_an_answer_to_choose_from(model) -> None:
    example = Toy.of(1).examples[0]
    scene = model.encode(example.open(), example.boxes)
    same = swapped(scene, np.random.default_rng(0), None)
    assert same.tensors.regions.embeddings.equal(scene.tensors.regions.embeddings)
    before = said_of({("cat", 3): 1.0}, count=4)
    changed = swapped(scene, np.random.default_rng(0), before).tensors.regions.embeddings
    pair = choose_pair(before, np.random.default_rng(0))
    assert pair is not None
    own = scene.tensors.regions.embeddings
    assert changed[pair.high].equal(own[pair.low])
    assert changed[pair.low].equal(own[pair.high])
    assert float((changed - own).abs().max()) > 0
