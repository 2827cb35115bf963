import hashlib
import pickle

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fo1.data import compositing, scenes
from fo1.data.backgrounds import GROUNDS
from fo1.data.compositing import Layer, resolve_occlusion
from fo1.data.pictures import PicturePack
from fo1.data.scenes import HELD_OUT_LINEAGE, Scene, SceneGenerator
from fo1.data.solids import PAINTS, SOLIDS, SolidPainter
from fo1.errors import InputError


def fingerprint(scene: Scene) -> str:
    facts = repr((scene.image.size, scene.objects, scene.distractors, scene.background))
    return hashlib.sha256(scene.image.tobytes() + facts.encode()).hexdigest()


def test_same_seed_and_index_give_the_same_scene(pack: PicturePack) -> None:
    one, two = SceneGenerator(pack), SceneGenerator(pickle.loads(pickle.dumps(pack)))
    forwards = [fingerprint(one(11, index)) for index in range(12)]
    backwards = [fingerprint(two(11, index)) for index in reversed(range(12))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 12
    assert fingerprint(one(12, 0)) != forwards[0]


def test_scenes_are_what_they_promise(scenes: list[Scene], pack: PicturePack) -> None:
    for scene in scenes:
        width, height = scene.image.size
        assert scene.image.mode == "RGB"
        assert 256 <= max(width, height) <= 420
        assert 3 <= len(scene.objects) <= 14
        assert scene.background in GROUNDS
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            assert 0.4 <= thing.visible <= 1
            assert thing.name == thing.names[0]
            concept = pack.concepts.get(thing.concept) or SOLIDS[thing.concept]
            assert thing.name == concept.name
    repeated = [len({t.concept for t in s.objects}) < len(s.objects) for s in scenes]
    assert np.mean(repeated) > 0.4, "counting needs several of a kind"
    assert sum(bool(scene.distractors) for scene in scenes) > 60
    assert len({scene.background for scene in scenes}) >= 9
    ratios = {round(s.image.width / s.image.height, 1) for s in scenes}
    assert len(ratios) >= 6


def brute_force(
    layers: list[Layer], width: int, height: int
) -> list[tuple[tuple[float, float, float, float], float] | None]:
    """Returns (box, visible fraction) per layer by painting numbers, or None if left out."""
    alive = list(range(len(layers)))
    while True:
        canvas = np.full((height + 1200, width + 1200), -1)
        for number in alive:
            layer = layers[number]
            alpha = np.asarray(layer.image.getchannel("A")) >= compositing.VISIBLE_ALPHA
            top, left = layer.top + 600, layer.left + 600
            window = canvas[top : top + alpha.shape[0], left : left + alpha.shape[1]]
            window[alpha] = number
        canvas = canvas[600 : 600 + height, 600 : 600 + width]
        facts: dict[int, tuple[tuple[float, float, float, float], float]] = {}
        for number in alive:
            rows, columns = np.nonzero(canvas == number)
            total = (
                np.asarray(layers[number].image.getchannel("A")) >= compositing.VISIBLE_ALPHA
            ).sum()
            if len(rows):
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                facts[number] = (tuple(map(float, box)), len(rows) / total)  # type: ignore[assignment]
        # Only the topmost bad layer is sure to be bad: what covers the others may go.
        bad = [
            n
            for n in alive
            if n not in facts
            or facts[n][1] < compositing.LEAST_VISIBLE
            or min(facts[n][0][2] - facts[n][0][0], facts[n][0][3] - facts[n][0][1]) < 6
        ]
        if not bad:
            return [facts.get(n) if n in alive else None for n in range(len(layers))]
        alive.remove(max(bad))


def test_boxes_equal_painting_every_mask_alone(
    generator: SceneGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Layer]] = []

    def record(layers: list[Layer], width: int, height: int) -> list[Layer]:
        seen.append(list(layers))
        return resolve_occlusion(layers, width, height)

    monkeypatch.setattr(scenes.compositing, "resolve_occlusion", record)
    hidden = 0
    for index in range(45):
        seen.clear()
        scene = generator(21, index)
        layers = seen[-1]
        truth = brute_force(layers, *scene.image.size)
        kept = [(layer, fact) for layer, fact in zip(layers, truth, strict=True) if fact]
        hidden += len(layers) - len(kept)
        boxes = [fact[0] for layer, fact in kept if layer.thing]
        assert [thing.box for thing in scene.objects] == boxes
        assert [t.visible for t in scene.objects] == [f[1] for layer, f in kept if layer.thing]
        assert list(scene.distractors) == [f[0] for layer, f in kept if not layer.thing]
    assert hidden > 5, "no scene tried the rule that hidden things are left out"


def disc(side: int) -> Image.Image:
    image = Image.new("RGBA", (side, side))
    ImageDraw.Draw(image).rectangle((2, 2, side - 3, side - 3), fill=(200, 0, 0, 255))
    return image


def test_a_thing_that_is_mostly_covered_is_left_out() -> None:
    below, above = Layer(disc(40), 10, 10, ("a", "s", "")), Layer(disc(60), 5, 5, None)
    assert resolve_occlusion([below, above], 200, 200) == [above]
    half = Layer(disc(60), 30, 5, None)
    kept = resolve_occlusion([below, half], 200, 200)
    assert kept == [below, half]
    assert below.box == (12.0, 12.0, 32.0, 48.0)
    assert below.visible == pytest.approx(20 / 36)


def test_a_thing_that_leaves_the_picture_is_cut_or_left_out() -> None:
    cut, gone = Layer(disc(40), -10, 5, None), Layer(disc(40), -30, 5, None)
    assert resolve_occlusion([cut, gone], 100, 100) == [cut]
    assert cut.box == (0.0, 7.0, 28.0, 43.0)


def test_things_and_distractors_have_the_same_edges(generator: SceneGenerator) -> None:
    def soft_share(image: Image.Image) -> float:
        alpha = np.asarray(image.getchannel("A"))
        return float(((alpha > 20) & (alpha < 235)).sum() / max(1, (alpha > 20).sum() ** 0.5))

    things: list[float] = []
    others: list[float] = []
    for index in range(40):
        rng = np.random.default_rng([5, index])
        for layer in generator._place(rng, 400, 300):
            (things if layer.thing else others).append(soft_share(layer.image))
    ratio = float(np.median(things) / np.median(others))
    assert 0.4 < ratio < 2.5


def test_nothing_held_out_is_drawn_for_training(
    generator: SceneGenerator, scenes: list[Scene], pack: PicturePack
) -> None:
    assert not set(generator.concepts) & pack.held_out
    lineages = {pack.lineages[t.style] for s in scenes for t in s.objects if t.style != "solid"}
    assert lineages == set(pack.lineages.values()) - {HELD_OUT_LINEAGE}
    assert not {t.concept for s in scenes for t in s.objects} & pack.held_out
    used = {info.index for infos in generator._pictures.values() for info in infos}
    assert not {i.index for i in pack.infos if i.lineage == HELD_OUT_LINEAGE} & used
    assert not {i.index for i in pack.infos if i.concept in pack.held_out} & used


def test_held_out_drawings_can_be_asked_for(pack: PicturePack) -> None:
    generator = SceneGenerator(
        pack, lineages=[HELD_OUT_LINEAGE], concepts=pack.held_out, solids=0, size=(256, 256)
    )
    things = [thing for index in range(4) for thing in generator(0, index).objects]
    assert {thing.style for thing in things} == {"twemoji"}
    assert {thing.concept for thing in things} <= pack.held_out


def test_wrong_settings_name_what_was_given(pack: PicturePack) -> None:
    with pytest.raises(InputError, match=r"scene size is \(300, 200\)"):
        SceneGenerator(pack, size=(300, 200))
    with pytest.raises(InputError, match="no picture is left"):
        SceneGenerator(pack, concepts=[])


@pytest.mark.parametrize("shape", list(SOLIDS))
def test_solids_are_shaded_and_of_their_colour(shape: str) -> None:
    painter, rng = SolidPainter(), np.random.default_rng(0)
    red = np.asarray(painter.paint(rng, shape, "red")).astype(int)
    blue = np.asarray(painter.paint(rng, shape, "blue")).astype(int)
    inside = red[..., 3] > 250
    assert inside.mean() > 0.3
    assert red[inside][:, 0].mean() > red[inside][:, 2].mean() + 60
    assert blue[blue[..., 3] > 250][:, 2].mean() > 1.5 * blue[blue[..., 3] > 250][:, 0].mean()
    assert red[inside].std(0)[:3].max() > 8, "a solid without shading is a flat shape"
    assert len(PAINTS) == 11
