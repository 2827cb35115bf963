"""A host gets region tokens: nothing it knows changes, and what is added works at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import normalizers
from torch import Tensor
from transformers import AddedToken, AutoModelForImageTextToText, CLIPImageProcessorPil

from fo1 import tags
from fo1.errors import CheckpointError, InputError
from fo1.layout import Picture, Turn, build_prompt
from fo1.models import FO1ForConditionalGeneration, FO1Processor, LightEncoderConfig
from fo1.models.assembly import CHAT_TOKENS, MARKUP_TOKENS
from fo1.models.families import get_family
from tests import tiny

Model = FO1ForConditionalGeneration
REGIONS = 12
ROWS = 260  # of the host's embeddings, more than its tokenizer fills
TOKENS = 257


def make_host(family: str, rows: int = ROWS, seed: int = 0, **options: Any) -> Any:
    """Return a host as someone else left it: its vocabulary is that of the plain tokenizer."""
    config: Any = tiny.HOSTS[family].config()
    config.get_text_config().vocab_size = rows
    config.get_text_config().bos_token_id = config.get_text_config().eos_token_id = None
    for name in ("video_token_id", "vision_start_token_id", "vision_end_token_id"):
        if hasattr(config, name):
            setattr(config, name, TOKENS - 1)
    torch.manual_seed(seed)
    host = AutoModelForImageTextToText.from_config(config, **options)
    tiny.randomise(host, seed)
    return host.eval()


def assemble(
    family: str, host: Any = None, tokenizer: Any = None, **options: Any
) -> tuple[Model, FO1Processor]:
    return FO1ForConditionalGeneration.from_vlm(
        make_host(family) if host is None else host,
        tokenizer=tiny.plain_tokenizer() if tokenizer is None else tokenizer,
        image_processor=tiny.HOSTS[family].image_processor(),
        **{
            "auxiliary_config": tiny.davit_config(),
            "num_region_tokens": REGIONS,
            "pyramid_width": 8,
            **options,
        },
    )


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def ask(processor: FO1Processor, regions: int = 3, text: str = "Where is the cup?") -> Any:
    prompt = build_prompt(Turn("user", (Picture(regions), text)))
    return processor([tiny.picture(84, 56)], [tiny.boxes(regions, 84, 56)], prompt)


# The host.


@pytest.mark.parametrize("rows", [ROWS, 4 * ROWS])
@pytest.mark.parametrize("resized", [False, True])
def test_what_the_host_knows_stays_bit_for_bit(family: str, rows: int, resized: bool) -> None:
    host = make_host(family, rows)
    if resized:  # by the caller, who put in a layer that the library did not make
        host.resize_token_embeddings(rows + 5, mean_resizing=False)
        rows += 5
        own = torch.nn.Embedding(rows, tiny.WIDTH)
        host.set_input_embeddings(own)
        host.tie_weights()
    before = weights(host)
    model, processor = assemble(family, host)
    assert model.vlm is host
    after = weights(host)
    assert after.keys() == before.keys()
    grown = [name for name, own in after.items() if own.shape != before[name].shape]
    needed = max(processor.tokenizer.get_vocab().values()) + 1
    assert bool(grown) == (needed > rows)
    for name, own in before.items():
        assert torch.equal(after[name][: len(own)] if own.ndim else after[name], own), name
    assert model.config.get_text_config().vocab_size == max(needed, rows)
    assert model.config.vlm_config is host.config


def test_new_rows_lie_around_the_mean_and_apart(family: str) -> None:
    host = make_host(family)
    with torch.no_grad():
        for layer in {host.get_input_embeddings(), host.get_output_embeddings()}:
            layer.weight += 3  # a mean far from zero
    model, _ = assemble(family, host)
    matrices = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
    assert len(matrices) == (1 if model.config.tie_word_embeddings else 2)
    for matrix in matrices:
        old, new = matrix[:ROWS].detach(), matrix[ROWS:].detach()
        assert len(new) > REGIONS
        assert ((new - old.mean(0)).abs() < 0.6 * old.std(0)).all()
        apart = torch.cdist(new, new) + torch.eye(len(new))
        assert apart.min() > 0.05 * old.std(0).norm()


def test_ties_stay_as_they_were(family: str) -> None:
    host = make_host(family)
    tied = host.config.tie_word_embeddings
    model, _ = assemble(family, host)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    assert model.config.tie_word_embeddings == tied


def test_a_spare_row_that_equals_the_image_token_s_is_drawn(family: str) -> None:
    """Hosts find pictures by the embedding of their positions: rows never trained are all alike."""
    host = make_host(family, 4 * ROWS)
    with torch.no_grad():
        host.get_input_embeddings().weight[TOKENS:] = 0
    model, processor = assemble(family, host)
    rows = model.get_input_embeddings().weight
    image = rows[model.family.image_token_id(host.config)]
    others = processor.tokenizer.convert_tokens_to_ids([*MARKUP_TOKENS, "<region0>", "<region9>"])
    assert not any(torch.equal(rows[token], image) for token in others)
    inputs = ask(processor)
    assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_attention_stays_as_it_was(family: str, kind: str) -> None:
    model, _ = assemble(family, make_host(family, attn_implementation=kind))
    assert model.vlm.get_decoder().config._attn_implementation == kind


def test_half_precision(family: str) -> None:
    model, processor = assemble(family, make_host(family).to(torch.bfloat16))
    assert model.dtype == torch.bfloat16
    assert {p.dtype for p in model.region_encoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.score_head.parameters()} == {torch.float32}
    assert model(**ask(processor)).logits.isfinite().all()


# The vocabulary.


def test_every_token_is_one_token(family: str) -> None:
    tokenizer = tiny.plain_tokenizer()
    _, processor = assemble(family, tokenizer=tokenizer)
    assert len(tokenizer) == TOKENS, "the caller's own stays as it is"
    regions = [tags.region_token(region) for region in range(REGIONS)]
    for token in (*CHAT_TOKENS, *MARKUP_TOKENS, *regions, tags.REGION_PLACEHOLDER):
        assert len(processor.token_ids(token)) == 1, token
        assert processor.token_ids(f"a{token} b")[1:-2] == processor.token_ids(token)
    assert len(processor.token_ids(tags.region_token(REGIONS))) > 1
    answer = "<ground>cup</ground><objects><region3></objects>"
    ids = processor.token_ids(f"{answer}<|im_end|>")
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == answer


def test_tokens_hold_whatever_the_tokenizer_does_to_text(family: str) -> None:
    tokenizer = tiny.plain_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend("Ġ")
    _, processor = assemble(family, tokenizer=tokenizer)
    region = processor.token_ids("<region3>")
    assert len(region) == 1
    assert region[0] in processor.token_ids("a<region3>b")


def test_a_tokenizer_that_cuts_tokens_is_refused(family: str) -> None:
    tokenizer = tiny.plain_tokenizer()
    tokenizer.add_tokens([AddedToken("<region0>", single_word=True)])
    with pytest.raises(InputError, match=r"cuts <region0> to pieces.*use another tokenizer"):
        assemble(family, tokenizer=tokenizer)


def test_tokens_that_are_there_are_kept(family: str) -> None:
    """The published vocabulary lacks nothing: nothing is added, and the host's image token is its own."""
    given = tiny.make_processor().tokenizer
    host = make_host(family, tiny.VOCABULARY)
    host.config.image_token_id = 1804
    model, processor = assemble(family, host, given, num_region_tokens=100)
    added = set(processor.tokenizer.get_vocab()) - set(given.get_vocab())
    assert added <= {*MARKUP_TOKENS}
    assert processor.image_token == "<|image_pad|>"
    assert model.family.image_token_id(model.vlm.config) == 1804
    assert model.config.region_placeholder_id == tiny.PLACEHOLDER
    assert len(model.get_input_embeddings().weight) == tiny.VOCABULARY


def test_the_host_s_image_token_may_have_any_name(family: str) -> None:
    tokenizer = tiny.plain_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    host = make_host(family)
    host.config.image_token_id = TOKENS
    model, processor = assemble(family, host, tokenizer)
    assert processor.image_token == "<image>"
    assert model.family.image_token_id(model.vlm.config) == TOKENS
    inputs = ask(processor)
    assert int((inputs["input_ids"] == TOKENS).sum()) == processor.image_token_counts(inputs)[0]


@pytest.mark.parametrize("claimed", [65, 256, 9999])
def test_an_image_token_that_is_a_word_is_replaced(family: str, claimed: int) -> None:
    """A config's default may point at a letter, at the end of a text, or behind the vocabulary."""
    host = make_host(family)
    host.config.image_token_id = claimed
    model, processor = assemble(family, host)
    own = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert model.family.image_token_id(model.vlm.config) == own >= TOKENS


def test_answers_end_with_the_turn(family: str) -> None:
    model, processor = assemble(family)
    ends = model.generation_config.eos_token_id
    tokenizer = processor.tokenizer
    assert ends == [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id]
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id is not None
    assert not model.generation_config.do_sample


# The whole.


def test_same_seed_same_weights(family: str) -> None:
    hosts = [make_host(family) for _ in range(3)]
    models = []
    for number, host in enumerate(hosts):
        torch.manual_seed(number)
        before = torch.random.get_rng_state()
        models.append(assemble(family, host, seed=number // 2)[0])
        assert torch.equal(torch.random.get_rng_state(), before), "others' chance is left alone"
    first, second, third = map(weights, models)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    name = "region_encoder.projector.0.weight"
    assert not torch.equal(third[name], first[name])
    rows = [model.get_input_embeddings().weight for model in models]
    assert not torch.equal(rows[2][ROWS:], rows[0][ROWS:])


@torch.inference_mode()
def test_without_regions_it_answers_as_the_host(family: str) -> None:
    model, processor = assemble(family)
    inputs = ask(processor, regions=0)
    own = model.vlm(**tiny.own_inputs(model, inputs)).logits
    assert torch.equal(model(**inputs).logits, own)


def test_a_step_of_training_reaches_what_is_new(family: str) -> None:
    model, processor = assemble(family)
    inputs = ask(processor)
    model.train()(**inputs, labels=inputs["input_ids"]).loss.backward()
    for name, parameter in model.region_encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model.region_encoder.projector[0].weight.grad.abs().max() > 0
    assert model.get_input_embeddings().weight.grad[ROWS:].abs().max() > 0


def test_saved_and_loaded(family: str, tmp_path: Path) -> None:
    model, processor = assemble(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, info = FO1ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    other = FO1Processor.from_pretrained(tmp_path)
    assert other.host == family == loaded.family.model_type
    before, after = ask(processor), ask(other)
    torch.testing.assert_close(dict(after), dict(before), rtol=0, atol=0)
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(**after).logits, model.eval()(**before).logits)
    assert loaded.generation_config.eos_token_id == model.generation_config.eos_token_id


def test_from_a_folder(family: str, tmp_path: Path) -> None:
    host = make_host(family)
    host.save_pretrained(tmp_path)
    one, _ = assemble(family, tmp_path)
    two, _ = assemble(family, host)
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_parts_that_may_be_left_out(family: str) -> None:
    bare, _ = assemble(family, auxiliary_config=None, use_auxiliary=False, score=False)
    assert bare.score_head is None
    assert bare.region_encoder.auxiliary is None
    model, processor = assemble(
        family, auxiliary_config=LightEncoderConfig(coco_classes=0), repeat_regions=True
    )
    assert model.config.score_config.evidence_sources == ["imagenet"]
    assert model.config.repeat_regions
    assert processor.auxiliary_image_processor.image_mean == (127 / 255,) * 3
    both, _ = assemble(family, auxiliary_config=LightEncoderConfig())
    assert both.config.score_config.evidence_sources == ["imagenet", "coco"]


# Wrong use.


@pytest.mark.parametrize("option", ["pyramid_widht", "host_width", "output_width", "kwargs"])
def test_options_that_do_not_exist(family: str, option: str) -> None:
    with pytest.raises(
        InputError, match=rf"option '{option}' cannot be set; use one of .*pyramid_width"
    ):
        assemble(family, **{option: 8})


def test_what_does_not_belong_to_the_host(family: str) -> None:
    with pytest.raises(InputError):
        FO1ForConditionalGeneration.from_vlm(
            make_host(family),
            tokenizer=tiny.plain_tokenizer(),
            image_processor=CLIPImageProcessorPil(do_center_crop=False, do_resize=False),
        )
    host = make_host(family)
    host.config.vision_config.patch_size = 16
    if family == "qwen2_5_vl":
        with pytest.raises(InputError, match=r"patch_size is 14, but the host was built for 16"):
            assemble(family, host)
    host.config.model_type = "gpt2"
    with pytest.raises(CheckpointError, match="'gpt2'; known families"):
        assemble(family, host)
    assert get_family(family).model_type == family
