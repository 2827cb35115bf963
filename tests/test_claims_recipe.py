"""The trainings of docs/claims.md from scenes to figures, at a size at which nothing is learned; arms say the truth."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fo1.geometry import box_iou
from fo1.training import copying
from tests import tiny
from tests.recipes import importing

PARTS = {"base": 1, "train": 2, "check": 1, "test": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scenes of all lineages, few of each."""
    with importing("claims"), pytest.MonkeyPatch.context() as patch:
        import scenes  # pyright: ignore[reportMissingImports]
        import study  # pyright: ignore[reportMissingImports]

        patch.setattr(scenes, "PARTS", PARTS)
        patch.setattr(scenes, "PROPOSED", {"base": 0, "train": 6, "check": 6, "test": 6})
        for name, value in (("HOST_STEPS", 2), ("STEPS", 2), ("BATCH", 2)):
            patch.setattr(study, name, value)
        yield tmp_path_factory.mktemp("claims")


def test_a_round_never_shows_the_lineage_it_is_measured_on(folder: Path) -> None:
    import scenes  # pyright: ignore[reportMissingImports]

    test = scenes.of_round("test", "noto", folder)
    train = scenes.of_round("train", "noto", folder)
    own = scenes.scenes("test", "noto", folder / "scenes")
    assert [one.names for one in test] == [one.names for one in own]
    assert len(train) == PARTS["train"] * (len(scenes.LINEAGES) - 1)
    others = {
        lineage: scenes.scenes("train", lineage, folder / "scenes") for lineage in scenes.LINEAGES
    }
    turns = [others[name][place] for place in range(2) for name in scenes.LINEAGES[1:]]
    assert all((a.objects == b.objects).all() for a, b in zip(train, turns, strict=True))
    for scene in train:
        assert set(scene.names) <= set(scenes.vocabulary())
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= 1).all()
        for level, most in enumerate(scenes.JITTERS):
            moved = scene.boxes[scene.of_kind("jitter", level)]
            sides = np.tile(scene.objects[:, 2:] - scene.objects[:, :2], 2)
            assert (abs(moved - scene.objects) <= most * sides / 2 + 1e-6).all()
        overlap = box_iou(scene.boxes[scene.of_kind("other")], scene.objects)
        assert (overlap < 0.2).all()


def test_axes_keep_what_varies(folder: Path) -> None:
    import scenes  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    wide = torch.randn(500, 3) @ torch.randn(3, 40) + 0.01 * torch.randn(500, 40)
    axes = scenes.Axes.of(wide, 3)
    known = axes(wide).float()
    again = torch.linalg.lstsq(known, (wide - wide.mean(0)) / wide.std(0)).solution
    rest = (wide - wide.mean(0)) / wide.std(0) - known @ again
    assert float(rest.std()) < 0.05
    assert math.isclose(float((known**2).mean()), 1, rel_tol=0.02)


@pytest.mark.parametrize("name", ["digits", "bins", "bins, proposals", "digits, auxiliary"])
def test_what_is_written_in_coordinates_is_read_again(folder: Path, name: str) -> None:
    import arms  # pyright: ignore[reportMissingImports]
    import scenes  # pyright: ignore[reportMissingImports]
    import study  # pyright: ignore[reportMissingImports]

    shown = scenes.of_round("train", "noto", folder)
    draw = arms.Draw(study.ARMS[name], shown, scenes.vocabulary(), 0)
    for index in range(12):
        sample = draw(index)
        scene = next(one for one in shown if one.cells is sample.images[0].patches)
        for dialogue in sample.dialogues:
            ((asked, answer),) = dialogue.turns
            label = asked.split(" ", 1)[1]
            if dialogue.task != "detect":
                assert answer in scene.names
                continue
            found = arms.read_boxes(answer, study.ARMS[name], scene.objects)
            true = scene.objects[[own == label for own in scene.names]]
            assert len(found) == len(true)
            if len(true):
                assert (box_iou(found, true).max(0) > 0.8).all()
        assert bool(sample.preface) == ("proposals" in name)
        assert len(sample.boxes[0]) == (scenes.GRID**2 if "auxiliary" in name else 0)


@pytest.mark.parametrize("notation", ["digits", "bins", "regions"])
def test_tables_are_answered_from_what_stands_in_them(folder: Path, notation: str) -> None:
    import arms  # pyright: ignore[reportMissingImports]
    import scenes  # pyright: ignore[reportMissingImports]

    draw = arms.Tables(notation, scenes.vocabulary(), 0)
    arm = arms.Arm(notation)
    absent = 0
    for index in range(8):
        sample = draw(index)
        regions = [own[0] if own else "" for own in sample.names]
        for dialogue in sample.dialogues:
            ((asked, answer),) = dialogue.turns
            text = asked.split(" ", 1)[1]
            if notation == "regions":
                listed = [place for place, name in enumerate(regions) if name == text]
                absent += dialogue.task == "detect" and not listed
                if dialogue.task == "detect":
                    assert list(arms.regions_in(answer)) == listed
                else:
                    assert regions[arms.regions_in(text)[0]] == answer
            elif dialogue.task == "detect":
                found = arms.read_boxes(answer, arm, np.zeros((0, 4)))
                assert len(found) == sample.preface.count(text)
                for box in found:
                    assert f"{arms.write_box(box, notation)}{text}" in sample.preface
            else:
                assert f"{text}{answer}" in sample.preface
        assert bool(sample.preface) == (notation != "regions") == (not sample.names)
    assert (absent > 0) == (notation == "regions")


def test_copied_regions_look_like_their_names(folder: Path) -> None:
    import arms  # pyright: ignore[reportMissingImports]
    import hosts  # pyright: ignore[reportMissingImports]
    import scenes  # pyright: ignore[reportMissingImports]

    processor = hosts.build_processor("qwen2_5_vl")
    model = hosts.build_model("qwen2_5_vl", processor, {}, 0, True, 0)
    sample = arms.Tables("regions", scenes.vocabulary(), 0)(1)
    seen = scenes.of_round("base", "noto", folder)
    picture = arms.Draw(arms.Arm("digits"), seen, scenes.vocabulary(), 0)(0)
    objective = hosts.Copying(model, processor)
    batch = arms.ArmCollator(processor)([picture, sample])
    encoding, regions = objective.encode(batch)
    assert len(encoding.host.tokens) == 2
    assert len(regions.embeddings) == len(sample.names)
    table = model.get_input_embeddings().weight.detach()
    for own, embedding in zip(sample.names, regions.embeddings.detach(), strict=True):
        ids = processor.token_ids(own[0] if own else copying.NOTHING)
        word = table[ids].mean(0)
        assert float((embedding - word).std() / table[ids].mean(0).std()) < 1
    losses = objective(batch)
    assert torch.isfinite(losses["lm"])


def test_regions_stand_for_the_things_that_are_asked(folder: Path) -> None:
    import arms  # pyright: ignore[reportMissingImports]
    import scenes  # pyright: ignore[reportMissingImports]
    import study  # pyright: ignore[reportMissingImports]

    shown = scenes.of_round("train", "noto", folder)
    for name, silent in (("regions", False), ("silence", True), ("no negatives", False)):
        draw = arms.Draw(study.ARMS[name], shown, scenes.vocabulary(), 0)
        absent = 0
        for index in range(12):
            sample = draw(index)
            scene = next(one for one in shown if one.cells is sample.images[0].patches)
            for dialogue in sample.dialogues:
                ((asked, answer),) = dialogue.turns
                label = asked.split(" ", 1)[1]
                if dialogue.task == "detect":
                    found = arms.read_boxes(answer, study.ARMS[name], sample.boxes[0])
                    true = scene.objects[[own == label for own in scene.names]]
                    assert all(
                        box_iou(found[None, k], true).max() >= 0.5 for k in range(len(found))
                    )
                    absent += label not in scene.names
                    assert not silent or answer or not len(found)
        assert (absent == 0) == (name == "no negatives")


def test_tallies_match_each_thing_once(folder: Path) -> None:
    import measures  # pyright: ignore[reportMissingImports]

    true = np.float32([[0, 0, 0.2, 0.2], [0.5, 0.5, 0.7, 0.7]])
    found = np.float32([[0, 0, 0.2, 0.2], [0, 0, 0.2, 0.19], [0.9, 0.9, 1, 1]])
    one = measures.tally(found, true, 0.5)
    assert (one.right, one.listed, one.true) == (1, 3, 2)
    assert measures.f1([one]) == pytest.approx(2 / 5)
    assert measures.tally(found[:0], true, 0.5).right == 0
    figures = measures.rejection(np.array([3.0, 2, 1, 0]), np.array([True, True, False, True]))
    assert figures["presence auroc"] == pytest.approx(2 / 3)
    assert figures["false at recall 0.9"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"arm": "regions"},
        {"arm": "bins, proposals"},
        {"arm": "host only"},
        {"arm": "regions", "plan": "two stages"},
        {"arm": "regions", "plan": "stage 1", "family": "llava"},
        {"arm": "regions", "plan": "stage 1", "family": "qwen3_5"},
    ],
    ids=lambda one: "-".join(one.values()),
)
def test_a_training_ends_in_figures(folder: Path, options: dict[str, Any]) -> None:
    import study  # pyright: ignore[reportMissingImports]

    own = study.Study(folder)
    training = replace(study.Training("regions", study.TUNED_IN), **options)
    own.train_host(training.family, training.held_out)
    found = own.figures(training)
    assert found == own.figures(training)  # read, not made again
    by_region = study.ARMS[training.arm].by_region
    assert 0 <= found["naming"] <= 1
    for boxes in ("own boxes", "check", *(["true boxes"] if by_region else [])):
        assert 0 <= found[boxes]["f1@0.5"] <= 1
        assert 0 <= found[boxes]["presence auroc"] <= 1
    assert not own.run_of(training).out.exists()


def test_stage_1_ends_in_a_row_of_the_families_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import families  # pyright: ignore[reportMissingImports]

    for name, value in (("HOST_STEPS", 2), ("STEPS", 2), ("BATCH", 2), ("TEST", 1)):
        monkeypatch.setattr(families, name, value)
    families.run(families.host_run("qwen3_vl", folder))
    before = families.learned_model(families.host_run("qwen3_vl", folder)).vlm.state_dict()
    for deep in (False, True):
        trial = families.Trial("qwen3_vl", deep=deep)
        found = families.figures(trial, folder)
        assert found == families.figures(trial, folder)  # read, not made again
        assert all(
            0 <= found[own][what] <= 1 for own in ("own", "exchanged") for what in found[own]
        )
        after = families.learned_model(families.stage1_run(trial, folder)).vlm.state_dict()
        changed = {
            name for name, weights in after.items() if not torch.equal(weights, before[name])
        }
        assert changed <= {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    row = families.report(["qwen3_vl"], folder).splitlines()[-1]
    assert row.count("|") == 8


def test_captions_say_what_lies_where(folder: Path) -> None:
    import families  # pyright: ignore[reportMissingImports]
    import scenes  # pyright: ignore[reportMissingImports]

    seen = scenes.of_round("base", "noto", folder)
    draw, told = families.Captions(seen, 0), set[str]()
    for index in range(12):
        sample = draw(index)
        scene = next(one for one in seen if one.cells is sample.images[0].patches)
        for dialogue in sample.dialogues:
            ((place, answer),) = dialogue.turns
            there = {
                name
                for name, (x1, y1, x2, y2) in zip(scene.names, scene.objects, strict=True)
                if place == "all"
                or (families.ROWS[int(1.5 * (y1 + y2))], families.COLUMNS[int(1.5 * (x1 + x2))])
                == tuple(place.split())
            }
            assert answer == (", ".join(sorted(there)) or "None")
            told.add(place)
    assert len(told) > 5


@torch.inference_mode()
def test_deep_features_reach_region_tokens(folder: Path) -> None:
    """Everything deep is 1 or 2, so the mean over any box is; the oracle hands both to the language model itself."""
    import deepstack  # pyright: ignore[reportMissingImports]

    model, processor = tiny.make_model("qwen3_vl"), tiny.make_processor("qwen3_vl")
    for value, merger in enumerate(model.vlm.model.visual.deepstack_merger_list, 1):
        merger.register_forward_hook(lambda *call, value=value: torch.full_like(call[-1], value))
    batch = tiny.collate(processor, tiny.scene(84, 56, 2, seed=1), tiny.scene(56, 140, 1, seed=2))
    mask = batch["attention_mask"]

    def host_inputs() -> dict[str, Any]:
        encoding = model.encode_images(batch)
        regions = model.encode_regions(encoding, batch["auxiliary_boxes"], batch["host_boxes"])
        return model.host_inputs(
            batch["input_ids"], mask, None, encoding, regions, None, dict(batch)
        )

    host = host_inputs()
    ids = batch["input_ids"]
    image = ids == model.config.vlm_config.image_token_id
    both = image | (ids == tiny.PLACEHOLDER)
    tokens = torch.cat(list(host["mm_encoder_outputs"]["image"].pooler_output))
    embeddings = host["inputs_embeds"].masked_scatter(image[..., None], tokens)
    deep = [embeddings.new_full((int(both.sum()), tiny.WIDTH), value) for value in (1.0, 2.0)]
    expected = model.vlm.model.language_model(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=host["position_ids"],
        visual_pos_masks=both,
        deepstack_visual_embeds=deep,
    ).last_hidden_state
    plain = model.vlm.base_model(**host).last_hidden_state
    deepstack.reach_regions(model)
    found = model.vlm.base_model(**host_inputs()).last_hidden_state
    seen = mask.bool()
    torch.testing.assert_close(found[seen], expected[seen], atol=1e-4, rtol=1e-4)
    assert (found - plain)[ids == tiny.PLACEHOLDER].abs().max() > 0.1


def test_tables_tell_what_holds(folder: Path) -> None:
    import tables  # pyright: ignore[reportMissingImports]
    from claims import compared, wanted  # pyright: ignore[reportMissingImports]
    from study import LINEAGES, RATES, Study, Training  # pyright: ignore[reportMissingImports]

    rng = np.random.default_rng(0)
    rows = []
    level = {"regions": 0.8, "silence": 0.5, "no negatives": 0.79}
    for arm in ("regions", "silence", "no negatives"):
        for held_out in LINEAGES:
            for rate in RATES:
                value = level[arm] + 0.01 * rng.random() - 0.1 * (rate != RATES[0])
                lists = {
                    "f1@0.5": value,
                    "f1@0.75": value,
                    "reachable": value,
                    "presence auroc": value,
                    "false at recall 0.9": 1 - value,
                    "absent answered": 0.1,
                }
                training = {"arm": arm, "held_out": held_out, "rate": rate}
                rows.append(
                    {
                        "training": training,
                        "own boxes": lists,
                        "true boxes": lists,
                        "check": lists,
                        "naming": value,
                    }
                )
    figures = tables.Figures(rows)
    whole, silence, _ = compared(4).values()
    assert figures.rate(whole) == RATES[0]
    difference = figures.difference(whole, silence, tables.rejection)
    assert difference.low < 30 < difference.high
    assert "**holds**" in tables.verdict(difference, 2)
    assert "**fails**" in tables.verdict(difference, 50)
    assert "**holds**" in tables.alike(difference, 50)
    assert "**fails**" in tables.alike(difference, 5)
    said = tables.claim_4(figures)
    assert said.count("holds") == 2
    assert said.count("fails") == 1
    assert "not run" in tables.claim_1(figures)
    few = tables.Figures([row for row in rows if row["training"]["held_out"] != "noto"])
    assert "holds" not in tables.claim_4(few)
    assert tables.claim_4(few).count("unfinished") == 3
    assert "(of 4)" in tables.claim_4(few)
    assert str(tables.Mean.of([0.1])) == "10.0 (of 1)"
    mean = tables.Mean.of([0.1, 0.2, 0.3])
    assert mean.high - mean.value == pytest.approx(4.303 * 10 / math.sqrt(3), rel=1e-3)
    todo = list(wanted(Study(folder / "nothing"), (1,)))
    assert None in todo
    assert Training("digits", "twemoji", rate=RATES[1]) in todo


def test_the_document_says_what_its_figures_say() -> None:
    with importing("claims"):
        import tables  # pyright: ignore[reportMissingImports]

        assert tables.DOCUMENT.read_text(encoding="utf-8") == tables.document()


def test_other_boxes_are_judged(folder: Path) -> None:
    import tables  # pyright: ignore[reportMissingImports]

    rows = []
    for shift in (0.0, 0.01, 0.02, 0.03, 0.04):
        for boxes, value, took in (
            ("others", 0.8, None),
            ("moved .2", 0.79, None),
            ("10 proposals", 0.5, 0.02),
            ("24 proposals", 0.6, 0.03),
            ("100 proposals", 0.3, 0.05),
        ):
            row = {"boxes": boxes, "f1@0.5": value + shift, "reachable": 0.9}
            rows.append(row | ({} if took is None else {"seconds": took}))
    said = tables.claim_5(rows)
    assert "5a. Moved by up to a fifth less unmoved: **holds**" in said
    assert "5b. 100 proposals less 24: **fails**" in said
    assert "5c. Time of 100 proposals over that of 10: **holds**: 2.5" in said
    assert tables.claim_5([]).count("not run") == 3
