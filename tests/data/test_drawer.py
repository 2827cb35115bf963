"""Sample i of a run is a function of i, and region sets repeat where features are to be kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fo1.data.drawer import Drawer
from fo1.data.mixture import Mixture, Source
from fo1.data.negatives import Vocabulary
from fo1.data.sample import Sample
from fo1.data.sampling import Sampling
from fo1.data.schema import Exchange, PictureRef, Record
from fo1.errors import ImageError
from tests.data.records import SIZE, scene

VARYING = Sampling(scales=(0.5, 2.0), jitter=0.3)


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    """Return two sources with three records of pictures and one of talk."""
    picture = tmp_path / "p.png"
    Image.new("RGB", (SIZE[1], SIZE[0])).save(picture)
    seen = [scene(key=f"s{i}", pictures=(PictureRef(str(picture), SIZE),)) for i in range(3)]
    talk = Record(key="talk", turns=(Exchange("Hello?", "Hi."),))
    return Mixture([Source("seen", seen, 3.0), Source("talk", [talk], 1.0)])


def drawer(mixture: Mixture, settings: Sampling, seed: int = 0, **others: Any) -> Drawer:
    words = {source.name: Vocabulary.of(source.records) for source in mixture.sources}
    return Drawer(mixture, settings, seed, words, **others)


def boxes_of(sample: Sample) -> tuple[Any, ...]:
    return tuple(
        (image.size, own.tobytes()) for image, own in zip(sample.images, sample.boxes, strict=True)
    )


def asked(sample: Sample) -> tuple[Any, ...]:
    return sample.dialogues, tuple((q.text, q.targets.tobytes()) for q in sample.queries)


def region_sets(samples: Sequence[Sample], key: str) -> list[tuple[Any, ...]]:
    return [boxes_of(sample) for sample in samples if sample.key == key]


def test_a_sample_is_a_function_of_its_number(mixture: Mixture) -> None:
    one, other = drawer(mixture, VARYING), drawer(mixture, VARYING)
    forth = {i: one.sample(i) for i in range(12)}
    back = {i: other.sample(i) for i in reversed(range(12))}
    for i in range(12):
        assert forth[i].key == back[i].key
        assert boxes_of(forth[i]) == boxes_of(back[i])
        assert asked(forth[i]) == asked(back[i])


def test_another_seed_draws_other_samples(mixture: Mixture) -> None:
    one, other = (
        [boxes_of(drawer(mixture, VARYING, seed).sample(i)) for i in range(8)] for seed in (0, 1)
    )
    assert one != other


def test_sources_come_by_weight(mixture: Mixture) -> None:
    keys = [drawer(mixture, Sampling()).sample(i).key for i in range(32)]
    assert {"s0", "s1", "s2", "talk"} == set(keys)
    assert keys.count("talk") == 8


def test_region_sets_repeat_after_so_many_draws_and_else_never(mixture: Mixture) -> None:
    for variants, wanted in ((None, 6), (6, 6), (2, 2), (1, 1)):
        made = drawer(mixture, replace(VARYING, variants=variants))
        samples = [made.sample(i) for i in range(40)]
        for key in ("s0", "s1", "s2"):
            sets = region_sets(samples, key)[:6]
            assert len(sets) == 6
            assert len(set(sets)) == wanted
            if variants is not None:
                assert sets == [sets[i % variants] for i in range(6)]


def test_language_is_new_where_regions_repeat(mixture: Mixture) -> None:
    made = drawer(mixture, replace(VARYING, variants=1))
    talks = [asked(s) for s in map(made.sample, range(24)) if s.key == "s0"]
    assert len(set(talks)) == len(talks) > 3


def test_records_of_one_key_in_two_sources_have_regions_of_their_own(mixture: Mixture) -> None:
    seen = mixture.sources[0].records[:1]
    made = drawer(Mixture([Source("a", seen), Source("b", seen)]), replace(VARYING, variants=1))
    assert len(set(region_sets([made.sample(i) for i in range(20)], "s0"))) == 2


def test_features_go_by_record_variant_and_boxes(mixture: Mixture) -> None:
    names: dict[str, tuple[Any, ...]] = {}

    def features(name: str, sample: Sample) -> torch.Tensor:
        assert names.setdefault(name, boxes_of(sample)) == boxes_of(sample)
        return torch.full((sample.num_regions, 2), 7.0)

    settings = replace(VARYING, variants=2)
    made = drawer(mixture, settings, features=features)
    for sample in map(made.sample, range(40)):
        if sample.num_regions:
            assert sample.features is not None
            assert sample.features.shape == (sample.num_regions, 2)
        else:
            assert sample.features is None
    assert len(names) == 3 * 2
    # A run with other settings does not take what was kept for these.
    other = drawer(mixture, replace(settings, jitter=0.2), features=features)
    for sample in map(other.sample, range(40)):
        assert sample.key
    assert len(names) == 2 * 3 * 2


def test_a_picture_that_is_gone_is_named(mixture: Mixture) -> None:
    lost = replace(scene(), pictures=(PictureRef("gone.png", SIZE),))
    with pytest.raises(ImageError, match=r"gone\.png"):
        drawer(Mixture([Source("a", [lost])]), Sampling()).sample(0)


def test_sample_numbers_may_be_large(mixture: Mixture) -> None:
    assert drawer(mixture, Sampling()).sample(10**12).key
    assert isinstance(
        drawer(mixture, Sampling(), seed=2**31).sample(0).num_regions, int | np.integer
    )
