"""What a batch holds: answers are learned, queries have their words and targets, rows hold whole scenes."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fo1.data.collator import IGNORED, Batch, Collator
from fo1.data.sample import Dialogue, Sample
from fo1.errors import InputError
from fo1.layout import TURN_END, TURN_START
from fo1.lexicon import Lexicon
from tests import tiny
from tests.training import samples


@pytest.fixture(scope="module")
def processor() -> Any:
    return tiny.make_processor()


def collate(processor: Any, *some: Sample, **options: Any) -> Batch:
    return Collator(processor, **options)(some)


def learned(processor: Any, batch: Batch, scene: int) -> list[str]:
    """The text of every run of labels of a scene."""
    texts: list[str] = []
    for row, own in enumerate(batch.packed.scene == scene):
        previous = -2
        for place in (own & (batch.labels[row] != IGNORED)).nonzero().flatten().tolist():
            token = processor.tokenizer.decode([int(batch.labels[row, place])])
            assert int(batch.labels[row, place]) == int(batch.packed.ids[row, place])
            if place != previous + 1:
                texts.append("")
            texts[-1] += token
            previous = place
    return texts


def test_answers_alone_are_learned_with_what_ends_them(processor: Any) -> None:
    batch = collate(processor, samples.scene(0))
    wanted = [a + TURN_END for d in samples.scene(0).dialogues for _, a in d.turns]
    assert learned(processor, batch, 0) == wanted
    assert batch.num_labels == sum(len(processor.token_ids(text)) for text in wanted)


def test_a_conversation_without_a_picture(processor: Any) -> None:
    batch = collate(processor, samples.text(4))
    assert learned(processor, batch, 0) == [f"Four.{TURN_END}", f"Seven, sample 4.{TURN_END}"]
    assert batch.pictures == {}
    assert batch.num_queries == 0


def test_labels_know_their_task(processor: Any) -> None:
    batch = collate(processor, samples.scene(0), samples.text())
    names = [batch.task_names[t] for t in batch.tasks[batch.labels != IGNORED].tolist()]
    assert set(names) == {"detect", "describe", "general"}
    assert bool((batch.tasks[batch.labels == IGNORED] == -1).all())


def test_queries_have_words_without_markup_and_targets(processor: Any) -> None:
    sample = samples.scene(2)
    batch = collate(processor, sample)
    for number, query in enumerate(sample.queries):
        mine = (batch.packed.branch[0] == number) & batch.words[0]
        assert processor.tokenizer.decode(batch.packed.ids[0][mine]).strip() == query.text
        assert batch.targets[0][:, number].tolist() == query.targets.tolist()
    assert batch.num_queries == 2  # of the third nobody knows anything


@pytest.mark.parametrize("repeat", [False, True])
def test_placeholders_name_their_regions(processor: Any, repeat: bool) -> None:
    batch = collate(processor, samples.scene(0), samples.pair(1), repeat_regions=repeat)
    placeholders = int((batch.packed.ids == processor.region_placeholder_id).sum())
    assert placeholders == len(batch.region_index)
    assert (len(batch.region_index) > 8) is repeat
    assert batch.region_index[:3].tolist() == [0, 1, 2]
    assert batch.region_index.max() == 7


def test_packing_fills_rows_and_keeps_scenes_whole(processor: Any) -> None:
    some = [samples.scene(n, regions=3 + n % 4) for n in range(7)] + [
        samples.text(n) for n in range(3)
    ]
    apart = collate(processor, *some)
    lengths = [(apart.packed.scene == n).sum() for n in range(len(some))]
    limit = int(max(lengths)) + 200
    packed = collate(processor, *some, pack_to=limit)
    assert packed.packed.ids.shape[1] <= limit
    assert len(packed.packed.ids) < len(some)
    for number, length in enumerate(lengths):
        where = packed.packed.scene == number
        assert int(where.sum()) == int(length)
        assert int(where.any(1).sum()) == 1
    total = sum(map(int, lengths))
    assert len(packed.packed.ids) <= -(-2 * total // limit)


def test_pictures_are_named_in_the_order_of_the_rows(processor: Any) -> None:
    some = [samples.text(), samples.scene(0), samples.pair(1), samples.scene(2, 8)]
    batch = collate(processor, *some, pack_to=100_000)
    order = list(dict.fromkeys(batch.packed.scene[0].tolist()))
    first = {1: [0], 2: [1, 2], 3: [3]}
    assert list(batch.picture_order) == [p for scene in order for p in first.get(scene, [])]


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_padded_on_a_side(processor: Any, side: Any) -> None:
    batch = collate(processor, samples.scene(0), samples.text(), padding=side)
    edge = batch.packed.scene[1, 0 if side == "left" else -1]
    assert int(edge) == -1


def test_features_that_were_pooled_before_spare_the_auxiliary_encoder(processor: Any) -> None:
    sample = replace(samples.pair(1), features=torch.arange(5.0)[:, None].expand(5, 6))
    batch = collate(processor, sample)
    assert "auxiliary_pixel_values" not in batch.pictures
    assert batch.features is not None
    assert [f[:, 0].tolist() for f in batch.features] == [[0, 1, 2], [3, 4]]
    with pytest.raises(InputError, match="give all or none"):
        collate(processor, sample, samples.scene(0))


def test_a_region_that_is_not_there_is_refused(processor: Any) -> None:
    wrong = replace(
        samples.scene(0), dialogues=(Dialogue((("Is <region7> red?", "No."),), "general"),)
    )
    with pytest.raises(InputError, match="names region 7, but has 3"):
        collate(processor, wrong)


def test_text_of_people_does_not_break_the_sequence(processor: Any) -> None:
    turns = (("Say <|im_end|> <image> <regionfeat>.", "No <|im_end|>, no <image>."),)
    batch = collate(processor, replace(samples.scene(0), dialogues=(Dialogue(turns, "general"),)))
    assert len(batch.region_index) == 3
    assert learned(processor, batch, 0)[0].count(TURN_END) == 1


def test_a_later_question_opens_a_turn_of_its_own(processor: Any) -> None:
    batch = collate(processor, samples.text(4))
    told = processor.tokenizer.decode(batch.packed.ids[0][batch.packed.branch[0] == 0])
    answered = f"Four.{TURN_END}\n{TURN_START}user\nAnd three?{TURN_END}\n{TURN_START}assistant\n"
    assert answered in told


def test_a_scene_goes_where_the_least_room_is_left(processor: Any) -> None:
    def words(number: int) -> Sample:
        turns = (("Count.", "one " * number),)
        return replace(samples.text(), dialogues=(Dialogue(turns, "general"),))

    some = [words(number) for number in (160, 100, 70, 10)]
    a, b, c, d = ((collate(processor, *some).packed.scene == n).sum() for n in range(4))
    limit = int(b + c + d)
    assert a + c > limit >= a + d  # the last fits behind the first as well, with room to spare
    rows = collate(processor, *some, pack_to=limit).packed.scene
    assert [sorted(set(row.tolist()) - {-1}) for row in rows] == [[0], [1, 2, 3]]


def test_queries_know_their_classes_source_by_source(processor: Any) -> None:
    lexicon = Lexicon.load()
    sources = ("coco", "imagenet")
    batch = collate(processor, samples.scene(0), lexicon=lexicon, sources=sources)
    cups = [
        {lexicon.names(source)[number] for number in own[0]}
        for source, own in zip(sources, batch.query_classes[0], strict=True)
    ]
    assert cups[0] == {"cup"}
    assert cups[1]
    assert cups[1] != cups[0]
    assert [len(own) for own in batch.query_classes[0]] == [3, 3]
    assert batch.query_classes[0][0][2] == ()  # "thing" names no class
    assert collate(processor, samples.scene(0)).query_classes == ((),)


def test_boxes_enter_the_host_frame_with_and_without_features(processor: Any) -> None:
    sample = samples.scene(0, width=100, height=75)
    own = collate(processor, sample).pictures["host_boxes"][0]
    cached = collate(processor, replace(sample, features=torch.zeros(3, 6)))
    assert torch.allclose(cached.pictures["host_boxes"][0], own)
    assert not torch.allclose(own, torch.from_numpy(sample.boxes[0]))  # the frame is another one


def test_regions_keep_their_names_and_queries_their_tasks(processor: Any) -> None:
    some = [samples.text(), samples.scene(0)]
    batch = collate(processor, *some)
    assert batch.names == ((), some[1].names)
    told = [[batch.task_names[task] for task in scene] for scene in batch.query_tasks]
    assert told == [[], ["detect", "refer", "detect"]]
