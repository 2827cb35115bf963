"""What the language model made of a scene is computed once, kept within bounds, and changes no answer."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fo1.errors import InputError
from fo1.models.encoding import PictureEncoding
from fo1.models.prefix import Prefix
from fo1.pipeline import FO1
from fo1.pipeline.engine import Engine
from fo1.pipeline.memory import Memory
from fo1.pipeline.rows import Row, share_passes
from tests import tiny
from tests.pipeline.conftest import SIZE, front


@contextmanager
def tokens_fed(model: FO1) -> Iterator[list[int]]:
    """Yield a list that gets the tokens of every pass through the language model."""
    fed: list[int] = []

    def hook(_: object, args: tuple[torch.Tensor, ...]) -> None:
        fed.append(args[0].shape[0] * args[0].shape[1])

    layer = model.engine.model.vlm.get_decoder().layers[0]
    handle = layer.register_forward_pre_hook(hook)
    yield fed
    handle.remove()


@pytest.fixture(params=tiny.KINDS)
def host(request: pytest.FixtureRequest) -> str:
    return request.param


def model_of(host: str, *, score: bool) -> FO1:
    return front(tiny.make_model(host, score=score), host=host)


def test_a_second_question_costs_its_own_tokens(host: str) -> None:
    model = model_of(host, score=True)
    scene = model.encode(tiny.picture(*SIZE), tiny.boxes(6, *SIZE))
    with tokens_fed(model) as first:
        scene.scores(["cat", "dog"])
    with tokens_fed(model) as second:
        scene.scores(["a coffee cup"])
    opening = len(model.engine._prefix(scene.tensors, tuple(range(6))))
    assert sum(first[:2]) == opening  # the picture, then its regions
    # Names of unlike length share no pass where layers carry a state.
    assert len(first) == 3 + model.engine.model.recurrent
    assert len(second) == 1
    assert second[0] < opening / 2
    with tokens_fed(model) as third:
        scene.ask("why?")
    assert opening not in third
    assert third[0] < opening


def test_answers_are_those_of_whole_passes(host: str) -> None:
    """The oracle: scenes asked together go through in one pass each, without a kept prefix."""
    model = model_of(host, score=True)
    scenes = [
        model.encode(tiny.picture(*SIZE, seed=seed), tiny.boxes(count, *SIZE))
        for seed, count in ((0, 3), (1, 7))
    ]
    names = ["cat", "dog", "a very old coffee cup", "zzz"]
    whole = model.engine.match([scene.tensors for scene in scenes], names)
    for scene, expected in zip(scenes, whole, strict=True):
        for _ in range(2):
            np.testing.assert_allclose(scene.scores(names), expected, atol=2e-6)
        alone = [scene.scores([name])[:, 0] for name in names]
        np.testing.assert_allclose(np.stack(alone, 1), expected, atol=2e-6)


def test_texts_are_those_of_whole_passes(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(host, score=False)
    scene = model.encode(tiny.picture(*SIZE), tiny.boxes(5, *SIZE))

    def said() -> list[object]:
        return [
            *scene.describe([0, 2, 4]),
            scene.ask("why is <region1> wet?").text,
            scene.ground().text,
            *scene.read([3]),
        ]

    behind = said()
    monkeypatch.setattr(Engine, "_behind_prefix", lambda self, rows, ids: None)
    assert said() == behind


def test_a_question_that_joins_the_prefix_is_read_whole() -> None:
    """Tokens across the seam are other tokens than those before and behind it."""
    engine = model_of("qwen2_5_vl", score=False).engine
    scene = engine.encode(tiny.picture(*SIZE), tiny.boxes(2, *SIZE))
    from fo1.layout import question_branch, scene_prefix

    row = Row(scene_prefix(2) + question_branch("why?"), (scene,), ((0, 0), (0, 1)), 2)
    ids = engine._ids_of([row])
    assert engine._behind_prefix([row], ids) is not None
    ids[0][-40] += 1  # as a tokenizer would that merges over the seam
    assert engine._behind_prefix([row], ids) is None


def test_rows_of_different_scenes_share_no_prefix() -> None:
    engine = model_of("qwen2_5_vl", score=False).engine
    scenes = [engine.encode(tiny.picture(*SIZE, seed=s), tiny.boxes(2, *SIZE)) for s in (0, 1)]
    from fo1.layout import question_branch, scene_prefix

    prompt = scene_prefix(2) + question_branch("why?")
    rows = [Row(prompt, (scene,), ((0, 0), (0, 1)), 2) for scene in scenes]
    assert engine._behind_prefix(rows, engine._ids_of(rows)) is None
    assert len(engine.generate(rows)) == 2


def test_questions_about_several_pictures_keep_their_prefixes(host: str) -> None:
    """However they are mixed, each is read behind its own scene's prefix, and answers keep their order."""
    model = model_of(host, score=False)
    scenes = [
        model.engine.encode(tiny.picture(*SIZE, seed=s), tiny.boxes(4, *SIZE)) for s in (0, 1, 2)
    ]
    from fo1.layout import question_branch, scene_prefix

    def row(scene: int, text: str) -> Row:
        placed = tuple((0, region) for region in range(4))
        return Row(scene_prefix(4) + question_branch(text), (scenes[scene],), placed, 4)

    rows = [row(0, "why?"), row(1, "how?"), row(2, "who?"), row(1, "where?"), row(0, "when?")]
    places = share_passes(rows, 8)
    assert places == [[2], [0, 4], [1, 3]]
    assert share_passes(rows, 1) == [[2], [0], [4], [1], [3]]
    assert share_passes([rows[0], rows[1], rows[2]], 2) == [[0, 1], [2]]
    apart = [model.engine.generate([one])[0].text for one in rows]
    for scene in scenes:
        model.engine.memory.forget(scene, scene.picture)
    with tokens_fed(model) as fed:
        together = model.engine.generate(rows)
    assert [text.text for text in together] == apart
    prompt = len(model.engine._ids_of(rows[:1])[0])
    if host != "qwen3_5":  # its rows stay apart
        assert sum(tokens >= 2 * prompt for tokens in fed) == 0


def test_other_boxes_cost_no_encoding(host: str) -> None:
    model = model_of(host, score=True)
    picture, names = tiny.picture(*SIZE), ["cat", "dog"]
    scene = model.encode(picture, tiny.boxes(3, *SIZE))
    scene.scores(names)
    others = tiny.boxes(6, *SIZE)[::-1].copy()
    expected = model.encode(picture, others).scores(names)
    calls: list[str] = []
    inner = model.engine.model
    inner.encode_images, real = (
        lambda given: (calls.append("seen"), real(given))[1],
        inner.encode_images,
    )
    with tokens_fed(model) as fed:
        again = model.encode(scene, others)
        np.testing.assert_allclose(again.scores(names), expected, atol=2e-6)
    assert calls == []
    opening = len(model.engine._prefix(scene.tensors, ()))
    assert opening not in fed
    assert fed[0] == len(model.engine._prefix(again.tensors, tuple(range(6)))) - opening
    assert len(model.encode(scene, proposer="grid", limit=4)) == 4
    assert scene.regions.shape == (3, 4)
    inner.encode_images = real


def test_maps_are_kept_without_what_only_the_language_model_needs(host: str) -> None:
    model = model_of(host, score=True)
    tensors = model.encode(tiny.picture(*SIZE), tiny.boxes(3, *SIZE)).tensors

    def make() -> PictureEncoding:
        raise AssertionError("it is kept")

    kept = model.engine.memory.get(tensors.picture, "maps", make)
    assert kept.host.tokens == ()
    assert [one.maps for one in kept.host.maps] == [()]
    maps = [one for own in (*kept.levels, *kept.auxiliary) for one in own]
    assert maps
    assert kept.num_bytes == sum(one.numel() * one.element_size() for one in maps)


def test_forgotten_maps_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen2_5_vl", score=True)
    small = FO1(
        replace(model.engine, memory=Memory(most_bytes=0)), Path("nowhere"), proposer="grid"
    )
    picture, others = tiny.picture(*SIZE), tiny.boxes(6, *SIZE)
    scene = small.encode(small.encode(picture, tiny.boxes(2, *SIZE)), others)
    expected = model.encode(picture, others).scores(["cat"])
    np.testing.assert_allclose(scene.scores(["cat"]), expected, atol=2e-6)
    assert len(small.engine.memory) == 0


def test_a_scene_of_another_model_is_refused() -> None:
    one, other = (model_of("qwen2_5_vl", score=True) for _ in range(2))
    with pytest.raises(InputError, match="encode the picture again"):
        other.encode(one.encode(tiny.picture(*SIZE), tiny.boxes(2, *SIZE)))


def prefix(size: int) -> Prefix:
    class Layer:
        keys = None

    layer = Layer()
    layer.keys = torch.zeros(size, dtype=torch.uint8)
    cache = type("Cache", (), {"layers": [layer]})()
    empty = torch.zeros(0, dtype=torch.long)
    return Prefix(empty, torch.zeros(0, 4), cache, (), 0, None)


class Owner:
    pass


def test_the_least_used_are_forgotten_beyond_the_bound() -> None:
    kept, made = Memory(most_bytes=250), []

    def make(name: str, size: int = 100) -> Prefix:
        made.append(name)
        return prefix(size)

    owners = {name: Owner() for name in "abc"}
    for name in ("a", "b", "a", "c", "a", "b"):
        kept.get(owners[name], (), lambda name=name: make(name))
    assert made == ["a", "b", "c", "b"]  # "b" was used least when "c" came
    assert (len(kept), kept.num_bytes) == (2, 200)
    kept.get(owners["c"], (1,), lambda: make("large", 300))
    assert len(kept) == 2  # what is larger than all room is given, not kept
    assert made[-1] == "large"


def test_a_prefix_dies_with_its_scene() -> None:
    model = model_of("qwen2_5_vl", score=True)
    scene = model.encode(tiny.picture(*SIZE), tiny.boxes(3, *SIZE))
    scene.scores(["cat"])
    assert len(model.engine.memory) == 3  # maps and opening of the picture, prefix of the scene
    assert model.engine.memory.num_bytes > 0
    del scene
    gc.collect()
    assert len(model.engine.memory) == 0


def test_threads_share_prefixes() -> None:
    model = model_of("qwen2_5_vl", score=True)
    scenes = [
        model.encode(tiny.picture(*SIZE, seed=seed), tiny.boxes(4, *SIZE)) for seed in range(3)
    ]
    expected = [scene.scores(["cat", "dog"]) for scene in scenes]
    fresh = model_of("qwen2_5_vl", score=True)
    again = [fresh.encode(tiny.picture(*SIZE, seed=s), tiny.boxes(4, *SIZE)) for s in range(3)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: again[n % 3].scores(["cat", "dog"]), range(24)))
    for number, table in enumerate(found):
        np.testing.assert_allclose(table, expected[number % 3], atol=1e-6)


def test_a_prefix_is_never_written_to() -> None:
    model = model_of("qwen2_5_vl", score=True)
    scene = model.encode(tiny.picture(*SIZE), tiny.boxes(3, *SIZE))
    scene.scores(["cat"])
    kept = model.engine._prefix(scene.tensors, (0, 1, 2))
    before = [layer.keys.clone() for layer in kept.cache.layers]
    scene.scores(["dog", "a cup"])
    scene.ask("why?")
    scene.describe([0, 1])
    for layer, keys in zip(kept.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
