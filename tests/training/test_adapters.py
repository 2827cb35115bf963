"""Adapters train in place of the language model, and a merged model computes what the adapted one computed."""

import json
import math
from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.training.tiny_run import make_run

from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.training import adapters, token_rows
from fo1.training.recipe import Recipe
from fo1.training.run import Run, new_tokens, run
from fo1.training.stages import Adapter, group_of, perception


def lora(out: Path, adapter: Adapter) -> Run:
    given = make_run(out)
    fields = {name: getattr(given, name) for name in Run.__slots__}
    stage = perception(3, 4, rate=1e-3, adapter=adapter)
    return Run(**{**fields, "recipe": Recipe(name="lora", stages=(stage,), micro_batch=2, seed=3)})


def logits(model: FO1ForConditionalGeneration) -> torch.Tensor:
    return model.vlm(input_ids=torch.arange(3, 60)[None] * 11 % 1700).logits.detach()


def test_lora_moves_linear_layers_and_new_rows_of_the_language_model_alone(tmp_path: Path) -> None:
    before = tiny.make_model(score=True, pointer=8)
    after = run(lora(tmp_path, Adapter(rank=4, alpha=8)))
    old, groups = dict(before.named_parameters()), group_of(before)
    changed = {n for n, p in after.named_parameters() if not torch.equal(p, old[n])}
    assert set(old) == {name for name, _ in after.named_parameters()}
    language = {n for n in changed if groups[n] == "language_model"}
    linear = {n for n in language if "_proj.weight" in n}
    table = "vlm.model.language_model.embed_tokens.weight"
    assert language == linear | {table}
    assert len(linear) == 14  # seven in each of two layers
    rows = (dict(after.named_parameters())[table] != old[table]).any(1).nonzero().flatten().tolist()
    assert set(rows) <= set(new_tokens(tiny.make_processor(), 100))
    assert not {n for n in changed if groups[n] == "vision"}


@pytest.mark.parametrize("four_bit", [False, True], ids=["LoRA", "QLoRA"])
def test_a_merged_model_computes_what_the_adapted_one_did(four_bit: bool) -> None:
    if four_bit:
        pytest.importorskip("bitsandbytes")
    model = tiny.make_model(score=True)
    adapters.attach(model, Adapter(rank=4, alpha=8, four_bit=four_bit))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted = logits(model)
    assert not torch.allclose(adapted, logits(tiny.make_model(score=True)), atol=1e-2)
    adapters.detach(model)
    torch.testing.assert_close(logits(model), adapted, rtol=1e-3, atol=2e-3)
    assert set(dict(model.named_parameters())) == set(
        dict(tiny.make_model(score=True).named_parameters())
    )


def test_a_four_bit_run_ends_in_full_layers_of_which_old_tokens_are_untouched(
    tmp_path: Path,
) -> None:
    pytest.importorskip("bitsandbytes")
    before = tiny.make_model(score=True, pointer=8)
    after = run(lora(tmp_path, Adapter(rank=4, alpha=8, four_bit=True)))
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    assert {n: p.shape for n, p in old.items()} == {n: p.shape for n, p in new.items()}
    assert all(p.dtype == torch.float32 for p in new.values())
    table = "vlm.model.language_model.embed_tokens.weight"
    rows = (new[table] != old[table]).any(1).nonzero().flatten().tolist()
    assert rows
    assert set(rows) <= set(new_tokens(tiny.make_processor(), 100))
    losses = [
        json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))


def test_own_rows_learn_what_a_masked_matrix_learns() -> None:
    """The slow oracle: the whole matrix, with gradients of old tokens set to zero."""
    fresh = new_tokens(tiny.make_processor(), 100)
    ids = torch.tensor([[5, fresh[0], 9, fresh[3], fresh[1], 12]])
    slow, fast = tiny.make_model(score=True), tiny.make_model(score=True)
    token_rows.attach(fast, fresh)
    mask = torch.zeros(slow.get_input_embeddings().weight.shape[0], 1)
    mask[fresh] = 1
    for model in (slow, fast):
        model.requires_grad_(False)
    slow.get_input_embeddings().weight.requires_grad_(True)
    fast.token_rows.requires_grad_(True)
    pairs = (
        (slow, [slow.get_input_embeddings().weight]),
        (fast, list(fast.token_rows.parameters())),
    )
    for model, learning in pairs:
        optimizer = torch.optim.AdamW(learning, lr=1e-2, weight_decay=0.0)
        for _ in range(3):
            states = model.vlm(input_ids=ids).logits
            torch.nn.functional.cross_entropy(states[0, :-1], ids[0, 1:]).backward()
            if model is slow:
                learning[0].grad.mul_(mask)
            optimizer.step()
            optimizer.zero_grad()
    token_rows.detach(fast)
    torch.testing.assert_close(
        fast.get_input_embeddings().weight, slow.get_input_embeddings().weight, rtol=1e-4, atol=1e-5
    )
    old = [n for n in range(len(mask)) if n not in set(fresh)]
    start = tiny.make_model(score=True).get_input_embeddings().weight
    assert torch.equal(fast.get_input_embeddings().weight[old], start[old])
