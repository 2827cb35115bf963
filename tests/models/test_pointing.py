"""The pointer: index tokens are tied to the regions of their own row, however a row is read."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fo1.errors import CheckpointError
from fo1.models import FO1ForConditionalGeneration
from fo1.models.decoding import decode
from fo1.models.pointing import Pointer
from fo1.models.prefix import read_prefix
from fo1.models.published.export import export_config
from tests import tiny

Model = FO1ForConditionalGeneration
PAD = 1793
STEPS = 10
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module", params=tiny.KINDS[:3])  # a pointer draws no mask
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str) -> Model:
    return pointing_model(family)


def pointing_model(family: str) -> Model:
    """Return a model that likes to write index tokens, so that what they point at decides."""
    model = tiny.make_model(family, pointer=8)
    first = tiny.make_processor(family).token_ids("<region0>")[0]
    with torch.no_grad():
        model.get_output_embeddings().weight[first : first + 8] *= 3
    return model


def collate(family: str, *scenes: tiny.Scene) -> dict[str, Any]:
    return tiny.collate(tiny.make_processor(family), *scenes)


def scenes() -> list[tiny.Scene]:
    return [
        tiny.scene(84, 56, 5, seed=1, text="Where is <region1>?"),
        tiny.scene(56, 140, 2, seed=2, text="How many dogs are there?"),
        tiny.scene(112, 60, 0, seed=3, text="Why?"),
    ]


def index_tokens(family: str, count: int) -> list[int]:
    processor = tiny.make_processor(family)
    return [processor.token_ids(f"<region{number}>")[0] for number in range(count)]


def by_hand(model: Model, family: str, scene: tiny.Scene, more: Sequence[int] = ()) -> Tensor:
    """Return (V,) logits behind a prompt and some answer tokens: the head's, then one region after another."""
    inputs = collate(family, scene)
    more_ids = torch.tensor([list(more)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more_ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    encoding = model.encode_images(inputs)
    regions = None
    if len(scene.boxes):
        regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    host = model.host_inputs(
        inputs["input_ids"],
        inputs["attention_mask"],
        None,
        encoding,
        regions,
        None,
        {key: inputs[key] for key in model.family.image_inputs if key in inputs},
    )
    state = model.vlm.base_model(**host, use_cache=False).last_hidden_state[0, -1]
    logits = model.get_output_embeddings()(state).clone()
    pointer = model.pointer
    assert isinstance(pointer, Pointer)
    for number, token in enumerate(index_tokens(family, len(scene.boxes))):
        assert regions is not None
        own = regions.embeddings[number]
        key = pointer.key((own - own.mean()) / (own.var(unbiased=False) + 1e-5).sqrt())
        logits[token] += pointer.scale * (pointer.query(state) * key / key.norm()).sum()
    return logits


@torch.no_grad()
def written_by_hand(model: Model, family: str, scene: tiny.Scene) -> list[int]:
    """The slow oracle of greedy decoding: everything is read again for every token."""
    answer: list[int] = []
    for _ in range(STEPS):
        answer.append(int(by_hand(model, family, scene, answer).argmax()))
    return answer


def decoded(model: Model, inputs: dict[str, Any], **options: Any) -> list[list[int]]:
    rows = len(inputs["input_ids"])
    written = decode(
        model, **inputs, grammars=[None] * rows, max_new_tokens=STEPS, ends=(), pad=PAD, **options
    )
    return [list(row.tokens) for row in written]


def generated(model: Model, inputs: dict[str, Any], **options: Any) -> list[list[int]]:
    settings = {"max_new_tokens": STEPS, "do_sample": False, "eos_token_id": None, **options}
    out = model.generate(**inputs, **settings)
    return out[:, inputs["input_ids"].shape[1] :].tolist()


@torch.no_grad()
def test_an_index_token_is_tied_to_its_region(model: Model, family: str) -> None:
    for scene in scenes():
        logits = model(**collate(family, scene)).logits[0, -1]
        torch.testing.assert_close(logits, by_hand(model, family, scene), **CLOSE)


@torch.no_grad()
def test_without_regions_the_host_says_what_it_said_before(model: Model, family: str) -> None:
    inputs = collate(family, scenes()[2])
    bare = tiny.make_model(family)
    bare.load_state_dict(model.state_dict(), strict=False)
    assert torch.equal(model(**inputs).logits.float(), bare(**inputs).logits.float())
    assert bare.pointer is None


def test_answers_are_those_of_reading_everything_again(model: Model, family: str) -> None:
    tokens = set(index_tokens(family, 5))
    pointed = 0
    for scene in scenes():
        inputs, expected = collate(family, scene), written_by_hand(model, family, scene)
        assert decoded(model, inputs) == [expected]
        assert generated(model, inputs) == [expected]
        pointed += len(tokens & set(expected))
    assert pointed > 1


def test_every_row_points_at_its_own_regions(model: Model, family: str) -> None:
    asked = scenes()[:2]
    alone = [generated(model, collate(family, scene))[0] for scene in asked]
    beams = [generated(model, collate(family, scene), num_beams=3)[0] for scene in asked]
    batch = collate(family, *asked)
    if not model.recurrent:
        assert decoded(model, batch) == alone
    assert generated(model, batch) == alone
    assert generated(model, batch, num_beams=3) == beams
    assert alone[0] != alone[1]


def test_rows_that_end_early_leave_the_others_theirs() -> None:
    model = pointing_model("qwen2_5_vl")
    batch = collate("qwen2_5_vl", *scenes()[:2])
    whole = decoded(model, batch)
    for row in (0, 1):
        end = whole[row][1]
        other = whole[1 - row]
        limit = other.index(end) + 1 if end in other else STEPS
        written = decode(
            model, **batch, grammars=[None] * 2, max_new_tokens=STEPS, ends=[end], pad=PAD
        )
        assert list(written[1 - row].tokens) == other[:limit]
        assert len(written[row].tokens) == whole[row].index(end) + 1


@torch.no_grad()
def test_behind_a_kept_prefix(model: Model, family: str) -> None:
    scene = scenes()[0]
    inputs = collate(family, scene)
    ids, cut = inputs.pop("input_ids"), 3
    inputs.pop("attention_mask")
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    pictures = {key: inputs[key] for key in model.family.image_inputs if key in inputs}
    prefix = read_prefix(model, ids[:, :-cut], encoding, regions, **pictures)
    assert prefix.pointables is not None
    assert prefix.num_bytes > prefix.pointables.keys.numel() * 4
    tail = {"input_ids": ids[:, -cut:], "attention_mask": torch.ones(1, cut, dtype=torch.long)}
    assert decoded(model, tail, prefix=prefix) == [written_by_hand(model, family, scene)]


def test_a_cache_is_continued_with_the_targets_of_its_prompt() -> None:
    model = pointing_model("qwen2_5_vl")
    scene = scenes()[0]
    inputs = collate("qwen2_5_vl", scene)
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    pointables = model.pointables(inputs["input_ids"], model.fuse(inputs["input_ids"], regions))
    with torch.no_grad():
        first = model(**inputs, use_cache=True)
        token = int(first.logits[0, -1].argmax())
        place = model.family.position_ids(
            model.vlm,
            inputs["input_ids"],
            inputs["attention_mask"],
            {key: inputs[key] for key in model.family.image_inputs if key in inputs},
        ).amax()
        then = model(
            torch.tensor([[token]]),
            attention_mask=torch.ones(1, inputs["input_ids"].shape[1] + 1, dtype=torch.long),
            position_ids=(place + 1).expand(3, 1, 1),
            past_key_values=first.past_key_values,
            pointables=pointables,
        )
        expected = by_hand(model, "qwen2_5_vl", scene, [token])
    torch.testing.assert_close(then.logits[0, -1], expected, **CLOSE)


def test_threads_point_at_their_own_regions(model: Model, family: str) -> None:
    asked = [collate(family, scene) for scene in scenes()] * 4
    alone = [generated(model, inputs) for inputs in asked[:3]] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda inputs: generated(model, inputs), asked)) == alone


def test_nothing_is_left_in_the_host(model: Model, family: str) -> None:
    head = model.get_output_embeddings()
    generated(model, collate(family, scenes()[0]))
    assert model.get_output_embeddings() is head
    assert not any("pointer" in name for name in model.vlm.state_dict())


def test_a_region_that_is_shown_again_is_one_target() -> None:
    pointer = Pointer(6, 4)
    ids = torch.tensor([9, 3, 0, 5, 0, 3, 0])
    embeddings = torch.randn(7, 6)
    embeddings[6] = embeddings[2]
    found = pointer.pointables(ids, embeddings, placeholder=0)
    assert found.tokens.tolist() == [3, 5]
    keys = F.normalize(pointer.key(F.layer_norm(embeddings[[2, 4]], (6,))), dim=-1)
    torch.testing.assert_close(found.keys, keys)
    again = found.join(pointer.pointables(torch.tensor([5, 0, 7, 0]), torch.randn(4, 6), 0))
    assert again.tokens.tolist() == [3, 5, 7]
    assert torch.equal(again.keys[:2], found.keys)


def test_gradients_reach_regions_through_what_is_pointed_at(family: str) -> None:
    model = pointing_model(family)
    scene = scenes()[0]
    inputs = collate(family, scene)
    token = index_tokens(family, 5)[4]
    model(**inputs).logits[0, -1, token].backward()
    assert model.pointer is not None
    for parameter in (*model.pointer.parameters(), *model.region_encoder.projector.parameters()):
        assert parameter.grad is not None
        assert bool(parameter.grad.abs().sum() > 0)


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = pointing_model("qwen2_5_vl")
    model.save_pretrained(tmp_path)
    inputs = collate("qwen2_5_vl", scenes()[0])
    again = Model.from_pretrained(tmp_path).eval()
    assert again.config.pointer_width == 8
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    for half in (
        Model.from_pretrained(tmp_path, dtype=torch.bfloat16),
        model.to(torch.bfloat16),
    ):
        kinds = {name: p.dtype for name, p in half.named_parameters()}
        assert kinds["pointer.scale"] == kinds["pointer.query.0.weight"] == torch.float32
        assert kinds["vlm.model.language_model.norm.weight"] == torch.bfloat16
        assert len(generated(half.eval(), inputs)[0]) == STEPS


def test_the_published_layout_has_no_place_for_it() -> None:
    config = tiny.make_config(pointer=8)
    config.vlm_config.text_config.max_window_layers = 2
    with pytest.raises(CheckpointError, match="cannot express this model: pointer_width 8, need 0"):
        export_config(config)
