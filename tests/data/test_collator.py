"""A batch says exactly what its samples say: prompts, references, labels and targets."""

import numpy as np
import pytest
import torch
from PIL import Image

from fo1.data.collator import Batch, Collator, Query, Sample
from fo1.layout import TURN_END, Picture, Turn, build_prompt
from tests import tiny

LABEL_OFF = -100


def sample(count: int, seed: int, size: tuple[int, int] = (120, 90)) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(
        image=Image.new("RGB", (84, 56), (seed * 40 % 255, 90, 30)),
        size=size,
        boxes=tiny.boxes(count, *size, seed=seed),
        features=torch.from_numpy(rng.random((count, 5), dtype=np.float32)),
        queries=(
            Query("cat", np.array([1, *[0] * (count - 1)], np.float32)),
            Query("the cup on the left", np.array([-1] * count, np.float32)),
        ),
        turns=(
            ("What is <region1>?", "a cup"),
            ("Compare <region0> and <region1>.", "both are <region0>"),
        ),
    )


@pytest.fixture(params=[False, True], ids=["once", "repeated"])
def batch(request: pytest.FixtureRequest) -> tuple[list[Sample], Batch, Collator]:
    samples = [sample(3, 1), sample(2, 2, size=(60, 200))]
    collator = Collator(tiny.make_processor(), repeat_regions=request.param)
    return samples, collator(samples), collator


def branch_texts(collator: Collator, batch: Batch, row: int) -> list[str]:
    ids, owner = batch.branches.ids[row], batch.branches.owner[row]
    count = int(owner.max()) + 1
    return [collator.processor.tokenizer.decode(ids[owner == k]) for k in range(count)]


def test_prefix_and_first_turn_are_the_ordinary_prompt() -> None:
    # The published layout names a region in a question without its feature.
    samples = [sample(3, 1), sample(2, 2, size=(60, 200))]
    collator = Collator(tiny.make_processor())
    made = collator(samples)
    tokenizer, processor = collator.processor.tokenizer, collator.processor
    counts = processor.image_token_counts(made.images)
    for row, one in enumerate(samples):
        question, answer = one.turns[0]
        prompt = build_prompt(Turn("user", (Picture(len(one.boxes)), question))) + answer + TURN_END
        expected = tokenizer(
            prompt.replace("<image>", processor.image_token * counts[row]), add_special_tokens=False
        )["input_ids"]
        prefix = made.prefix_ids[row][made.prefix_mask[row].bool()].tolist()
        branch = made.branches.ids[row][made.branches.owner[row] == len(one.queries)].tolist()
        assert prefix + branch == expected


def test_prefixes_are_padded_on_the_left(batch) -> None:
    _, made, _ = batch
    assert made.prefix_mask.min() == 0
    assert (made.prefix_mask.diff(dim=1) >= 0).all()


def test_labels_spell_the_answers_and_nothing_else(batch) -> None:
    samples, made, collator = batch
    tokenizer = collator.processor.tokenizer
    for row, one in enumerate(samples):
        labels = made.labels[row]
        text = tokenizer.decode(labels[labels != LABEL_OFF])
        assert text == "".join(answer + TURN_END for _, answer in one.turns)


def test_a_label_is_the_next_token_of_its_own_branch(batch) -> None:
    _, made, _ = batch
    ids, owner = made.branches.ids, made.branches.owner
    rows, columns = (made.labels != LABEL_OFF).nonzero(as_tuple=True)
    assert len(rows)
    assert torch.equal(made.labels[rows, columns], ids[rows, columns + 1])
    assert torch.equal(owner[rows, columns], owner[rows, columns + 1])


def test_region_index_counts_prefix_first_then_repeated_mentions(batch) -> None:
    _, made, collator = batch
    again = ([1, 0, 1], [4, 3, 4]) if collator.repeat_regions else ([], [])
    assert made.region_index.tolist() == [0, 1, 2, *again[0], 3, 4, *again[1]]
    placeholder = collator.processor.region_placeholder_id
    ids = torch.cat([made.prefix_ids, made.branches.ids], dim=1)
    assert int((ids == placeholder).sum()) == len(made.region_index)


def test_queries_are_opened_lists_and_their_words_are_marked(batch) -> None:
    _, made, collator = batch
    tokenizer = collator.processor.tokenizer
    assert branch_texts(collator, made, 0)[:2] == [
        "<ground>cat</ground><objects>",
        "<ground>the cup on the left</ground><objects>",
    ]
    words, owner = made.branches.words[0], made.branches.owner[0]
    assert tokenizer.decode(made.branches.ids[0][words & (owner == 1)]) == "the cup on the left"


def test_targets_stand_by_region_and_query(batch) -> None:
    _, made, _ = batch
    assert made.targets[0].tolist() == [[1, -1], [0, -1], [0, -1]]
    assert [t.shape for t in made.targets] == [(3, 2), (2, 2)]


def test_boxes_are_scaled_to_the_hosts_frame(batch) -> None:
    samples, made, collator = batch
    frames = collator.processor.host_frames(made.images)
    for one, frame, boxes in zip(samples, frames, made.host_boxes, strict=True):
        ratio = np.array([frame[0] / one.size[0], frame[1] / one.size[1]] * 2)
        np.testing.assert_allclose(boxes.numpy(), one.boxes * ratio, rtol=1e-5)


def test_samples_without_pictures_need_no_image_tokens() -> None:
    from dataclasses import replace

    processor = tiny.make_processor()
    made = Collator(processor)([replace(sample(2, 3), image=None)])
    assert made.images == {}
    image_token = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    assert image_token not in made.prefix_ids
