"""One pass over many queries against one run per query; the score head; the evidence."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fo1.models import FO1ForConditionalGeneration, FO1Processor, ScoreHeadConfig
from fo1.models.prefix import continue_prefix, read_prefix
from fo1.models.scoring import (
    LEAST_EVIDENCE,
    NEUTRAL_EVIDENCE,
    Branches,
    ScoreHead,
    branch_mask,
    branch_positions,
    evidence_chance,
    join_evidence,
    match_evidence,
)
from tests import tiny

Model = FO1ForConditionalGeneration
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
MARKUP = (1814, 1815)
QUERIES = [[1814, 10, 11, 12, 1815], [1814, 40, 1815], [1814, 70, 71, 1815, 1816], [7]]


@pytest.fixture(scope="module")
def model(family: str) -> Model:
    return tiny.make_model(family, score=True)


@pytest.fixture(scope="module")
def processor(family: str) -> FO1Processor:
    return tiny.make_processor(family)


def seen(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the picture inputs that are still needed beside an encoding."""
    return {k: inputs[k] for k in model.family.image_inputs if "pixel_values" not in k}


def states_of(model: Model, inputs: dict[str, Any]) -> Tensor:
    """Return (B, T, D) last hidden states of an ordinary pass."""
    output = model(**inputs, output_hidden_states=True)
    states = output.hidden_states[-1]
    assert torch.equal(model.get_output_embeddings()(states), output.logits)
    return states


def prefix_of(inputs: dict[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    return rest | {"prefix_ids": inputs["input_ids"], "prefix_mask": inputs["attention_mask"]}


def behind_a_prefix(
    model: Model, inputs: dict[str, Any], branches: Branches
) -> tuple[Tensor, Tensor]:
    """Return what `branch_states` does, by way of a kept prefix; the prefix's own part is that of an ordinary pass."""
    rest = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    prefix = read_prefix(model, inputs["input_ids"], **rest)
    kept = prefix.num_bytes, prefix.region_states.clone()
    for _ in range(2):  # continuing leaves it as it was
        states, embeddings = continue_prefix(model, prefix, branches)
    assert (prefix.num_bytes, prefix.region_states.tolist()) == (kept[0], kept[1].tolist())
    before = states_of(model, inputs)
    return torch.cat([before, states], 1), torch.cat([torch.zeros_like(before), embeddings], 1)


def continued(inputs: dict[str, Any], branch: list[int]) -> dict[str, Any]:
    tail = torch.tensor([branch])
    return dict(inputs) | {
        "input_ids": torch.cat([inputs["input_ids"], tail], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(tail)], dim=1),
    }


def split(states: Tensor, branches: list[list[int]]) -> list[Tensor]:
    return list(states.split([len(branch) for branch in branches]))


@torch.inference_mode()
def test_branches_equal_separate_runs(model: Model, processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    length = inputs["input_ids"].shape[1]
    branches = Branches.pack([QUERIES])
    if model.recurrent:
        with pytest.raises(ValueError, match="got 4 branches"):
            model.branch_states(**prefix_of(inputs), branches=branches)
        states, embeddings = behind_a_prefix(model, inputs, branches)
    else:
        states, embeddings = model.branch_states(**prefix_of(inputs), branches=branches)
    torch.testing.assert_close(states[:, :length], states_of(model, inputs), **CLOSE)
    for part, query in zip(split(states[0, length:], QUERIES), QUERIES, strict=True):
        alone = states_of(model, continued(inputs, query))[0, length:]
        torch.testing.assert_close(part, alone, **CLOSE)
    words = model.get_input_embeddings()(branches.ids[0])
    assert torch.equal(embeddings[0, length:], words)


@torch.inference_mode()
def test_branches_of_a_left_padded_batch(model: Model, processor: FO1Processor) -> None:
    """Prefixes of three lengths, with 4, 1 and 2 branches of different lengths."""
    scenes = [
        tiny.scene(84, 56, 3, seed=1),
        tiny.scene(56, 140, 1, seed=2, text="How many dogs are there?"),
        tiny.scene(112, 60, 0, seed=3, text="Why?"),
    ]
    if model.recurrent:
        pytest.skip("its branches share no pass")
    rows = [QUERIES, QUERIES[1:2], QUERIES[2:]]
    batch = tiny.collate(processor, *scenes)
    branches = Branches.pack(rows)
    states, _ = model.branch_states(**prefix_of(batch), branches=branches)
    assert states.isfinite().all()
    length = batch["input_ids"].shape[1]
    for row, (scene, queries) in enumerate(zip(scenes, rows, strict=True)):
        inputs = tiny.collate(processor, scene)
        own = inputs["input_ids"].shape[1]
        used = sum(map(len, queries))
        for part, query in zip(
            split(states[row, length : length + used], queries), queries, strict=True
        ):
            alone = states_of(model, continued(inputs, query))[0, own:]
            torch.testing.assert_close(part, alone, **CLOSE)


@torch.inference_mode()
def test_a_branch_does_not_see_the_others(model: Model, processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    if model.recurrent:
        pytest.skip("its branches share no pass")
    length = inputs["input_ids"].shape[1]
    other = [QUERIES[0], [1814, 999, 1815], *QUERIES[2:]]
    runs = [
        model.branch_states(**prefix_of(inputs), branches=Branches.pack([queries]))[0][0, length:]
        for queries in (QUERIES, other)
    ]
    for number, (a, b) in enumerate(zip(*(split(r, QUERIES) for r in runs), strict=True)):
        if number == 1:
            assert (a - b).abs().max() > 0.05
        else:
            torch.testing.assert_close(a, b, **CLOSE)


# Packing.


def test_pack() -> None:
    branches = Branches.pack([[[5, 6, 7], [8]], [[9]]], markup=(6,), padding=1)
    assert branches.ids.tolist() == [[5, 6, 7, 8], [9, 1, 1, 1]]
    assert branches.owner.tolist() == [[0, 0, 0, 1], [0, -1, -1, -1]]
    assert branches.words.tolist() == [[True, False, True, True], [True, False, False, False]]
    assert branches.steps()[0].tolist() == [0, 1, 2, 0]
    assert branches.steps()[1, 0] == 0
    assert branches.ends(0).tolist() == [2, 3]
    assert branches.ends(1).tolist() == [0]
    assert branches.to(torch.device("cpu")).ids.equal(branches.ids)


def test_mean_words_skips_markup() -> None:
    branches = Branches.pack([[[5, 6, 7], [6, 8], [6]]], markup=(6,))
    states = torch.arange(6.0)[:, None] * torch.tensor([[1.0, 10.0]])
    means = branches.mean_words(0, states)
    assert means[:, 0].tolist() == [1.0, 4.0, 0.0]  # a branch of markup alone has no words
    assert means[:, 1].tolist() == [10.0, 40.0, 0.0]


def test_branch_without_tokens() -> None:
    with pytest.raises(ValueError, match="branch 1 of row 0 is empty"):
        Branches.pack([[[5], []]])


@torch.inference_mode()
def test_no_queries(model: Model, processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    grid = seen(model, inputs)
    none = Branches.pack([[]])
    scores = model.score(inputs["input_ids"], none, regions=regions, encoding=encoding, **grid)
    assert scores.shape == (3, 0)


def test_mask_by_definition() -> None:
    prefix_mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    branches = Branches.pack([[[5, 6], [7]], [[8]]])
    mask = branch_mask(prefix_mask, branches.owner)
    assert mask.shape == (2, 1, 6, 6)
    for row in range(2):
        owner = [-1 if valid else -2 for valid in prefix_mask[row].tolist()]
        owner += [o if o >= 0 else -2 for o in branches.owner[row].tolist()]
        for query in range(6):
            for key in range(6):
                prefix_seen = owner[key] == -1
                own_branch = owner[key] >= 0 and owner[key] == owner[query]
                expected = key <= query and (prefix_seen or own_branch)
                assert bool(mask[row, 0, query, key]) == (expected or query == key)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_every_branch_restarts_behind_its_prefix(dimensions: int) -> None:
    """Behind the largest position of any axis: rows and columns of a picture may lead."""
    prefix_mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    positions = torch.tensor([[1, 0, 1], [0, 3, 2]])  # the largest need not be the last
    if dimensions == 3:
        positions = torch.stack([positions, positions * 2, positions])
    branches = Branches.pack([[[5, 6], [7]], [[8, 9, 10]]])
    out = branch_positions(positions, prefix_mask, branches)
    assert torch.equal(out[..., :3], positions)
    first, second = (2, 4) if dimensions == 1 else (3, 7)
    expected = torch.tensor([[first, first + 1, first], [second, second + 1, second + 2]])
    assert torch.equal(out[..., 3:], expected.expand_as(out[..., 3:]))


# Evidence.


def test_match_evidence_equals_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    sources = [torch.rand(4, size, generator=generator) * 0.3 for size in (6, 3)]
    classes = [[[0], [], [1, 2, 5], [3]], [[], [], [2], [0, 1]]]
    table = match_evidence(sources, classes)
    assert table.shape == (2, 4, 4)
    for source, (probabilities, queries) in enumerate(zip(sources, classes, strict=True)):
        for region in range(4):
            for query, indices in enumerate(queries):
                expected = 0.0
                if indices:
                    chance = min(1.0, sum(float(probabilities[region, i]) for i in indices))
                    expected = math.log(
                        (chance + LEAST_EVIDENCE) / (NEUTRAL_EVIDENCE + LEAST_EVIDENCE)
                    )
                assert math.isclose(float(table[source, region, query]), expected, abs_tol=1e-6)


def test_evidence_is_zero_at_the_neutral_probability_and_bounded() -> None:
    chances = torch.tensor([[0.0, NEUTRAL_EVIDENCE, 1.0, 0.9]])
    table = match_evidence([chances], [[[0], [1], [2], [2, 3]]])[0, 0]
    assert table[0] < -2
    assert table[1].abs() < 1e-6
    assert table[2] > 2
    assert table[3] == table[2]  # a sum over synonyms is not more than certain


def test_match_evidence_without_queries_or_regions() -> None:
    assert match_evidence([torch.zeros(3, 5)], [[]]).shape == (1, 3, 0)
    assert match_evidence([torch.zeros(0, 5)], [[[1], []]]).shape == (1, 0, 2)


# The head.


def head_inputs(regions: int, queries: int, sources: int = 0) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "region_states": draw(regions, 32),
        "region_embeddings": draw(regions, 32),
        "query_states": draw(queries, 32),
        "query_words": draw(queries, 32),
        "evidence": draw(sources, regions, queries) if sources else None,
    }


@pytest.mark.parametrize(("regions", "queries"), [(5, 3), (1, 1), (0, 3), (5, 0)])
@pytest.mark.parametrize("sources", [0, 2])
def test_head_shapes(regions: int, queries: int, sources: int) -> None:
    head = ScoreHead(ScoreHeadConfig(width=8, evidence_sources=("a", "b")[:sources]), 32)
    logits = head(**head_inputs(regions, queries, sources))
    assert logits.shape == (regions, queries)
    assert logits.dtype == torch.float32


def test_head_gradients() -> None:
    torch.manual_seed(0)
    head = ScoreHead(ScoreHeadConfig(width=8, evidence_sources=("a", "b")), 32)
    given = head_inputs(5, 3, 2)
    for value in given.values():
        value.requires_grad_()
    (head(**given) * torch.randn(5, 3)).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    for name, value in given.items():
        assert value.grad.abs().max() > 0, name


def test_head_judges_every_pair_alone() -> None:
    head = ScoreHead(ScoreHeadConfig(width=8, evidence_sources=("a",)), 32)
    given = head_inputs(5, 3, 1)
    logits = head(**given)
    for n in range(5):
        for k in range(3):
            one = {
                "region_states": given["region_states"][n : n + 1],
                "region_embeddings": given["region_embeddings"][n : n + 1],
                "query_states": given["query_states"][k : k + 1],
                "query_words": given["query_words"][k : k + 1],
                "evidence": given["evidence"][:, n : n + 1, k : k + 1],
            }
            torch.testing.assert_close(head(**one)[0, 0], logits[n, k])


def test_evidence_never_speaks_the_wrong_way() -> None:
    """Weights are kept at zero or above: more evidence never lowers a score."""
    head = ScoreHead(ScoreHeadConfig(width=8, evidence_sources=("a", "b")), 32)
    with torch.no_grad():
        head.evidence_for.copy_(torch.tensor([0.5, -1.0]))
        head.evidence_against.copy_(torch.tensor([-1.0, 0.25]))
    evidence = torch.tensor([[[2.0, -2.0]], [[3.0, -4.0]]])
    assert head.evidence_logits(evidence).tolist() == [[1.0, -1.0]]


def test_fresh_head_says_no() -> None:
    """At the start nearly every pair is a mismatch, and the scores say so."""
    torch.manual_seed(0)
    head = ScoreHead(ScoreHeadConfig(width=64), 32)
    assert head(**head_inputs(50, 20)).sigmoid().mean() < 0.2


# The whole way.


@torch.inference_mode()
def test_score(model: Model, processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    given = {"encoding": encoding, "regions": regions, **seen(model, inputs)}
    ids = inputs["input_ids"]
    scores = model.score(ids, Branches.pack([QUERIES], markup=MARKUP), **given)
    assert scores.shape == (3, len(QUERIES))

    region_states = states_of(model, inputs)[0][ids[0] == tiny.PLACEHOLDER]
    words = [[token for token in query if token not in MARKUP] for query in QUERIES]
    expected = model.score_head(
        region_states,
        regions.embeddings,
        torch.stack([states_of(model, continued(inputs, query))[0, -1] for query in QUERIES]),
        torch.stack([model.get_input_embeddings().weight[word].mean(0) for word in words]),
    )
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    assert (scores - scores.mean()).abs().max() > 0.1

    back = model.score(ids, Branches.pack([QUERIES[::-1]], markup=MARKUP), **given)
    torch.testing.assert_close(back.flip(-1), scores, atol=1e-4, rtol=1e-4)


def test_score_learns(family: str, processor: FO1Processor) -> None:
    """A few steps on one scene make the wanted pairs win; the gradient passes the whole model."""
    torch.manual_seed(0)
    model = tiny.make_model(family, score=True).train()
    if model.recurrent:
        pytest.skip("a kept prefix passes no gradient; tests of the objective train it")
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    target = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    branches = Branches.pack([QUERIES], markup=MARKUP)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        encoding = model.encode_images(inputs)
        regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
        logits = model.score(
            inputs["input_ids"],
            branches,
            regions=regions,
            encoding=encoding,
            **seen(model, inputs),
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert model.region_encoder.pyramid.smooth[0][0][0].weight.grad.abs().max() > 0
    block = tiny.HOSTS[family].vision_blocks(model.vlm)[0]
    assert all(p.grad.abs().max() > 0 for name, p in block.named_parameters() if "mlp" in name)


def test_model_without_head_says_so(family: str, processor: FO1Processor) -> None:
    model = tiny.make_model(family)
    inputs = tiny.collate(processor, tiny.scene(84, 56, 1))
    with pytest.raises(ValueError, match="no score head"):
        model.score(inputs["input_ids"], Branches.pack([QUERIES]), regions=None)


def test_evidence_chance_is_a_noisy_or_over_sources() -> None:
    evidence = [torch.tensor([[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]]), torch.tensor([[0.4], [0.0]])]
    classes = [[(0, 1), (), (2,)], [(0,), (), ()]]
    chance, rival = evidence_chance(evidence, classes, gains=(1.0, 2.0))
    torch.testing.assert_close(chance, torch.tensor([[0.9, 0.0, 0.5 * 0.5 / 0.8], [0.98, 0, 0]]))
    torch.testing.assert_close(rival, torch.tensor([[0.5, 0.8, 0.8], [0.5, 0.9, 0.9]]))


def test_join_evidence_lets_names_and_expressions_differ() -> None:
    match, chance = torch.tensor([[0.5, 0.5], [0.1, 0.1]]), torch.tensor([[0.6, 0.6], [0.6, 0.6]])
    joined = join_evidence(match, chance, torch.zeros(2, 2), torch.tensor([True, False]))
    expected = [[0.8, (0.5 * 0.8) ** 0.5], [0.64, (0.1 * 0.64) ** 0.5]]
    torch.testing.assert_close(joined, torch.tensor(expected))


def test_join_evidence_discounts_what_is_taken_for_something_else() -> None:
    one, none = torch.ones(1, 1), torch.zeros(1, 1)
    joined = join_evidence(0.8 * one, none, 0.75 * one, torch.tensor([True]))
    torch.testing.assert_close(joined, torch.tensor([[0.2]]))
