"""A stage trains exactly what it names; after the first the host is what it was."""

from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.training.tiny_run import make_run
from torch import Tensor

from fo1.errors import InputError
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training import token_rows
from fo1.training.recipe import Recipe, change
from fo1.training.run import new_tokens, run
from fo1.training.stages import Adapter, Stage, alignment, apply_stage, group_of, perception


@pytest.fixture(params=sorted(tiny.HOSTS))
def host(request: pytest.FixtureRequest) -> str:
    return request.param


def trained(host: str, stage: Stage, out: Path) -> FO1ForConditionalGeneration:
    """The tiny model after two steps of a stage."""
    given = make_run(out, f"host={host}")
    recipe = Recipe(name="one", stages=(stage,), micro_batch=2, seed=3)
    return run(type(given)(**{**_fields(given), "recipe": recipe}))


def _fields(given: object) -> dict[str, object]:
    return {name: getattr(given, name) for name in given.__slots__}  # type: ignore[attr-defined]


def moved(before: FO1ForConditionalGeneration, after: FO1ForConditionalGeneration) -> set[str]:
    old = dict(before.named_parameters())
    return {n for n, p in after.named_parameters() if not torch.equal(p, old[n])}


def groups(model: FO1ForConditionalGeneration, *names: str) -> set[str]:
    # A layer that nothing reaches, such as the last norm of an unused map, may stay.
    return {name for name, group in group_of(model).items() if group in names}


def test_alignment_moves_the_region_encoder_the_head_and_new_rows_alone(
    host: str, tmp_path: Path
) -> None:
    before = tiny.make_model(host, score=True, pointer=8)
    after = trained(host, alignment(2, 4, rate=1e-2), tmp_path)
    changed = moved(before, after)
    words = before.get_input_embeddings().weight
    (table,) = (name for name, own in before.named_parameters() if own is words)
    allowed = groups(before, "regions", "score_head", "pointer") | {table, "vlm.lm_head.weight"}
    assert changed <= allowed
    assert table in changed
    assert {n for n in changed if n.startswith("region_encoder.projector")}
    assert {n for n in changed if n.startswith("region_encoder.pyramid")}
    assert {n for n in changed if n.startswith("score_head.")}
    assert {n for n in changed if n.startswith("pointer.")}
    rows = (dict(after.named_parameters())[table] != dict(before.named_parameters())[table]).any(1)
    fresh = new_tokens(tiny.make_processor(host), before.config.num_region_tokens)
    assert set(rows.nonzero().flatten().tolist()) <= set(fresh)
    assert bool(rows.any())


def test_a_stage_tells_what_stays_frozen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trained("llava", alignment(2, 4), tmp_path)
    (told,) = (line for line in caplog.messages if line.startswith("stage alignment: "))
    assert told.endswith("2 steps; frozen: auxiliary, language_model, vision")


@pytest.mark.parametrize("host", tiny.KINDS)
def test_after_alignment_region_free_answers_are_bit_identical(host: str, tmp_path: Path) -> None:
    before = tiny.make_model(host, score=True, pointer=8)
    after = trained(host, alignment(3, 4, rate=1e-2), tmp_path)
    fresh = new_tokens(tiny.make_processor(host), before.config.num_region_tokens)
    old = torch.ones(before.get_output_embeddings().weight.shape[0], dtype=torch.bool)
    old[fresh] = False
    ids = torch.arange(3, 40)[None] * 7 % 1700
    found, wanted = (m.vlm(input_ids=ids).logits.detach() for m in (after, before))
    assert torch.equal(found[..., old], wanted[..., old])
    pictures = tiny.make_processor(host)(
        images=[tiny.picture(84, 84)], text=[tiny.prompt(0, text="What is this?")]
    )
    answers: list[Tensor] = []
    for model in (before, after):
        answers.append(
            model.generate(**pictures, max_new_tokens=12, do_sample=False, suppress_tokens=fresh)
        )
    assert torch.equal(*answers)


@pytest.mark.parametrize("host", tiny.KINDS)
def test_perception_adds_the_auxiliary_encoder_and_the_language_model(
    host: str, tmp_path: Path
) -> None:
    before = tiny.make_model(host, score=True, pointer=8)
    after = trained(host, perception(2, 4, rate=1e-3), tmp_path)
    changed = moved(before, after)
    learned = ("regions", "score_head", "pointer", "auxiliary", "language_model")
    assert changed <= groups(before, *learned)
    for group in learned:
        share = len(changed & groups(before, group)) / len(groups(before, group))
        assert share > 0.8, group
    assert not changed & groups(before, "vision")


def test_gradients_reach_exactly_the_groups_of_a_stage(host: str) -> None:
    model = tiny.make_model(host, score=True, pointer=8)
    token_rows.attach(model, new_tokens(tiny.make_processor(host), 100))
    for names in (
        ("regions",),
        ("score_head", "new_tokens"),
        ("pointer",),
        ("vision",),
        ("language_model",),
    ):
        stage = Stage(name="x", learns=dict.fromkeys(names, 1e-3), steps=1)
        learning = apply_stage(model, stage)
        assert set(learning.values()) == set(names)
        assert {n for n, p in model.named_parameters() if p.requires_grad} == set(learning)


def test_every_parameter_has_a_group(host: str) -> None:
    model = tiny.make_model(host, score=True, pointer=8)
    assert set(group_of(model)) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"learns": {"everything": 1e-3}}, "groups are regions"),
        ({"learns": {}}, "trains nothing"),
        ({"learns": {"regions": 1e-3}, "steps": 0}, "steps is 0"),
        ({"learns": {"adapters": 1e-3}}, "give an adapter"),
        (
            {"learns": {"adapters": 1e-3, "language_model": 1e-3}, "adapter": Adapter()},
            "choose one of them",
        ),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Stage(**{"name": "x", "steps": 1, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("seed", "no key=value"),
        ("sed=3", "there is no 'sed'"),
        ("seed=three", "no int"),
        ("stages.foo.steps=3", "NAME one of alignment, perception"),
        ("sampling.jitter.x=3", "has no fields"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(
    setting: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=problem):
        make_run(tmp_path, setting)


def test_settings_reach_their_fields(tmp_path: Path) -> None:
    recipe = make_run(tmp_path, "seed=9", "stages.*.steps=3", "sampling.scales=(0.5, 2.0)").recipe
    assert (recipe.seed, recipe.sampling.scales) == (9, (0.5, 2.0))
    assert [stage.steps for stage in recipe.stages] == [3, 3]
    assert (
        change(recipe, ["stages.alignment.learns.regions=0.5"]).stages[0].learns["regions"] == 0.5
    )


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(make_run(tmp_path, "stages.*.steps=1"))
    with pytest.raises(InputError, match=r"another recipe\.seed"):
        run(make_run(tmp_path, "stages.*.steps=1", "seed=5"))


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it a multiple of 3"):
        run(make_run(tmp_path, "micro_batch=3"))
