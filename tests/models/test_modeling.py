"""The model around a tiny random host: nothing edited, nothing mixed up, nothing computed twice."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    Llama4TextConfig,
    MistralConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
)

from fo1.models import FO1ForConditionalGeneration, FO1Processor
from tests import tiny

Model = FO1ForConditionalGeneration
GREEDY = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
VISION_PARTS = ("vlm.model.visual", "region_encoder.auxiliary", "region_encoder.pyramid")


def image_types(model: Model, ids: Tensor) -> Tensor:
    return (ids == model.family.image_token_id(model.vlm.config)).int()


def host_inputs(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return what the bare host takes for the same picture and text."""
    names = ("input_ids", "attention_mask", *model.family.image_inputs)
    given = {name: inputs[name] for name in names if name in inputs}
    return given | {"mm_token_type_ids": image_types(model, inputs["input_ids"])}


@pytest.fixture
def three(processor: FO1Processor) -> list[dict[str, Any]]:
    """Three scenes of different picture sizes, numbers of regions and prompt lengths."""
    return [
        tiny.collate(processor, tiny.scene(84, 56, 3, seed=1)),
        tiny.collate(processor, tiny.scene(56, 140, 1, seed=2, text="How many dogs are there?")),
        tiny.collate(processor, tiny.scene(112, 60, 0, seed=3, text="Why?")),
    ]


@pytest.fixture
def batch(processor: FO1Processor) -> dict[str, Any]:
    """The same three scenes as one left-padded batch."""
    return tiny.collate(
        processor,
        tiny.scene(84, 56, 3, seed=1),
        tiny.scene(56, 140, 1, seed=2, text="How many dogs are there?"),
        tiny.scene(112, 60, 0, seed=3, text="Why?"),
    )


# The host is never edited.


def test_host_is_the_library_class_without_hooks(model: Model) -> None:
    assert type(model.vlm) is Qwen2_5_VLForConditionalGeneration
    for module in model.vlm.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        own = [
            name for name, value in vars(module).items() if callable(value) and "forward" in name
        ]
        assert not own
    assert all(
        getattr(Qwen2_5_VLForConditionalGeneration, name).__module__.startswith("transformers.")
        for name in ("forward", "generate", "get_image_features", "prepare_inputs_for_generation")
    )


def test_use_changes_no_weight(model: Model, three: list[dict[str, Any]]) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(**three[0]).logits.sum().backward()
    model.generate(**three[1], **GREEDY)
    model.zero_grad(set_to_none=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@torch.inference_mode()
def test_without_regions_it_is_the_host_bit_for_bit(
    model: Model, three: list[dict[str, Any]]
) -> None:
    plain = host_inputs(model, three[2])
    assert torch.equal(model(**three[2]).logits, model.vlm(**plain).logits)
    ours = model.generate(**three[2], **GREEDY)
    assert torch.equal(ours, model.vlm.generate(**plain, **GREEDY))


@torch.inference_mode()
def test_text_alone_is_the_host_bit_for_bit(model: Model, processor: FO1Processor) -> None:
    inputs = processor(text="Say something.")
    assert set(inputs) == {"input_ids", "attention_mask", "region_index"}
    assert torch.equal(model(**inputs).logits, model.vlm(input_ids=inputs["input_ids"]).logits)


@torch.inference_mode()
def test_regions_are_the_host_with_overwritten_embeddings(
    model: Model, three: list[dict[str, Any]]
) -> None:
    """The oracle: a hook on the embedding layer, which only a test may set."""
    inputs = three[0]
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])

    def overwrite(layer: torch.nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        output[args[0] == tiny.PLACEHOLDER] = regions.embeddings
        return output

    handle = model.get_input_embeddings().register_forward_hook(overwrite)
    try:
        expected = model.vlm(**host_inputs(model, inputs)).logits
    finally:
        handle.remove()
    assert torch.equal(model(**inputs).logits, expected)


@torch.inference_mode()
def test_regions_matter(model: Model, processor: FO1Processor) -> None:
    """Guards the tests above: other boxes, another picture, other logits."""
    first = tiny.scene(84, 56, 3, seed=1)
    logits = model(**tiny.collate(processor, first)).logits[0, -1]
    moved = tiny.Scene(first.image, first.boxes[::-1].copy(), first.text)
    assert (model(**tiny.collate(processor, moved)).logits[0, -1] - logits).abs().max() > 0.05
    other = tiny.Scene(tiny.picture(84, 56, seed=9), first.boxes, first.text)
    assert (model(**tiny.collate(processor, other)).logits[0, -1] - logits).abs().max() > 0.05


# Batches and several pictures.


@torch.inference_mode()
def test_left_padded_batch_equals_single_runs(
    model: Model, three: list[dict[str, Any]], batch: dict[str, Any]
) -> None:
    lengths = batch["attention_mask"].sum(-1)
    assert len(set(lengths.tolist())) == 3
    together = model(**batch).logits
    answers = model.generate(**batch, **GREEDY)
    for row, (inputs, length) in enumerate(zip(three, lengths, strict=True)):
        torch.testing.assert_close(together[row, -length:], model(**inputs).logits[0], **CLOSE)
        alone = model.generate(**inputs, **GREEDY)[0]
        assert torch.equal(answers[row, -len(alone) :], alone)


@torch.inference_mode()
def test_several_pictures_in_one_prompt(model: Model, processor: FO1Processor) -> None:
    sizes, counts = [(84, 56), (56, 140)], [2, 3]
    images = [tiny.picture(*size, seed=i) for i, size in enumerate(sizes)]
    boxes = [
        tiny.boxes(n, *size, seed=i) for i, (n, size) in enumerate(zip(counts, sizes, strict=True))
    ]
    inputs = processor(images=images, boxes=boxes, text=tiny.prompt(*counts))
    assert inputs["region_index"].tolist() == [0, 1, 2, 3, 4]
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    for index, rows in enumerate([slice(0, 2), slice(2, 5)]):
        alone = processor(images=[images[index]], boxes=[boxes[index]])
        one = model.encode_images(alone)
        own = model.encode_regions(one, alone["auxiliary_boxes"], alone["host_boxes"])
        torch.testing.assert_close(regions.embeddings[rows], own.embeddings, **CLOSE)
        torch.testing.assert_close(encoding.host.tokens[index], one.host.tokens[0], **CLOSE)

    ids = inputs["input_ids"]
    embedded = model.fuse(ids, regions, inputs["region_index"])[0]
    assert torch.equal(embedded[ids[0] == tiny.PLACEHOLDER], regions.embeddings)
    out = model.generate(**inputs, **GREEDY)
    assert out.shape == (1, ids.shape[1] + 8)


@torch.inference_mode()
def test_a_picture_without_regions_needs_the_host_s_pixels_alone(
    model: Model, processor: FO1Processor
) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 0))
    alone = {k: v for k, v in inputs.items() if not k.startswith(("auxiliary", "host_boxes"))}
    with torch.inference_mode():
        expected = model(**inputs).logits
        assert torch.equal(model(**alone).logits, expected)
        other = model(**alone | {"pixel_values": 1 - alone["pixel_values"]}).logits
    assert not torch.allclose(other, expected, atol=1e-3)


def test_regions_need_the_maps_they_are_pooled_from(
    model: Model, three: list[dict[str, Any]]
) -> None:
    inputs = three[0]
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    with torch.inference_mode():
        whole = model.encode_images(inputs)
        blind = model.encode_images({k: v for k, v in inputs.items() if "auxiliary" not in k})
        with pytest.raises(ValueError, match=r"1 pictures, but the auxiliary encoder saw 0"):
            model.encode_regions(blind, *boxes)
        regions = model.encode_regions(whole, *boxes)
        left = whole.without_maps()
        with pytest.raises(ValueError, match="1 pictures, but 0"):
            model.encode_regions(left, *boxes)
        rest = {k: inputs[k] for k in ("input_ids", "attention_mask", "image_grid_thw")}
        kept = model(**rest, encoding=left, regions=regions).logits
    assert torch.equal(kept, model(**inputs).logits)


def test_region_mentioned_twice(model: Model, processor: FO1Processor) -> None:
    text = tiny.prompt(3, text="Is <region2><regionfeat> behind <region0><regionfeat>?")
    given = tiny.scene(84, 56, 3, seed=1)
    inputs = processor(images=[given.image], boxes=[given.boxes], text=text)
    assert inputs["region_index"].tolist() == [0, 1, 2, 2, 0]
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    embedded = model.fuse(inputs["input_ids"], regions, inputs["region_index"])
    rows = embedded[inputs["input_ids"] == tiny.PLACEHOLDER]
    assert torch.equal(rows, regions.embeddings[[0, 1, 2, 2, 0]])
    assert model(**inputs).logits.isfinite().all()


def test_placeholders_and_regions_are_counted(model: Model, three: list[dict[str, Any]]) -> None:
    inputs = three[0]
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(
        encoding, [b[:2] for b in inputs["auxiliary_boxes"]], [b[:2] for b in inputs["host_boxes"]]
    )
    with pytest.raises(ValueError, match=r"2 regions but 3 region placeholders"):
        model.fuse(inputs["input_ids"], regions)
    with pytest.raises(ValueError, match=r"0 regions but 3 region placeholders"):
        model.fuse(inputs["input_ids"], None)


def test_pictures_are_counted(model: Model, batch: dict[str, Any]) -> None:
    short = dict(batch) | {"auxiliary_pixel_values": batch["auxiliary_pixel_values"][:2]}
    with pytest.raises(ValueError, match=r"3 pictures for the host but 2"):
        model.encode_images(short)
    encoding = model.encode_images(batch)
    with pytest.raises(ValueError, match=r"boxes for 1 pictures, but 3"):
        model.encode_regions(encoding, batch["auxiliary_boxes"][:1], batch["host_boxes"][:1])
    with pytest.raises(ValueError, match=r"neither boxes nor features"):
        model.encode_regions(encoding, None, batch["host_boxes"])


# Training.


def test_gradient_reaches_everything_that_learns(processor: FO1Processor) -> None:
    model = tiny.make_model()
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    output = model.train()(**inputs, labels=inputs["input_ids"])
    output.loss.backward()
    for part in ("region_encoder", "vlm.model.visual", "vlm.model.language_model"):
        for name, parameter in model.get_submodule(part).named_parameters():
            assert parameter.grad is not None, f"{part}.{name}"
            assert parameter.grad.isfinite().all(), f"{part}.{name}"
            # A key's bias shifts all scores of a query alike, which softmax does not see.
            assert parameter.grad.abs().max() > 0 or "k_proj.bias" in name, f"{part}.{name}"


def test_loss_is_the_host_s_own(model: Model, three: list[dict[str, Any]]) -> None:
    ids = three[2]["input_ids"]
    with torch.inference_mode():
        ours = model(**three[2], labels=ids).loss
        assert torch.equal(ours, model.vlm(**host_inputs(model, three[2]), labels=ids).loss)


def test_gradient_checkpointing_gives_the_same_gradient(processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    gradients = []
    for checkpointing in (False, True):
        model = tiny.make_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@torch.inference_mode()
def test_cached_auxiliary_features_replace_pooling(
    model: Model, three: list[dict[str, Any]]
) -> None:
    inputs = three[0]
    encoding = model.encode_images(inputs)
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    pooled = [model.region_encoder.pool_auxiliary(encoding.auxiliary[0], boxes[0][0])]
    plain = model.encode_regions(encoding, *boxes)
    cached = model.encode_regions(encoding, *boxes, auxiliary_features=pooled)
    assert torch.equal(cached.embeddings, plain.embeddings)


# Precision.


@torch.inference_mode()
def test_bfloat16(three: list[dict[str, Any]]) -> None:
    inputs, model = three[0], tiny.make_model()
    expected = model(**inputs).logits
    low = tiny.make_model().to(torch.bfloat16)
    encoding = low.encode_images(inputs)
    regions = low.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    assert regions.features.dtype == torch.float32
    assert regions.embeddings.dtype == torch.bfloat16
    logits = low(**inputs).logits
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).abs().mean() < 0.1 * expected.std()
    assert low.generate(**inputs, **GREEDY).shape[1] == inputs["input_ids"].shape[1] + 8


def test_casting_inputs_leaves_boxes_and_auxiliary_pixels_exact(processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(403, 127, 3), tiny.scene(84, 56, 2))
    names = ("auxiliary_pixel_values", "auxiliary_boxes", "host_boxes")
    before = {name: [tensor.clone() for tensor in inputs[name]] for name in names}
    low = inputs.to("cpu", torch.bfloat16)
    assert low is inputs
    assert low["pixel_values"].dtype == torch.bfloat16
    assert low["input_ids"].dtype == torch.long
    for name, tensors in before.items():
        assert not torch.equal(tensors[0].bfloat16().float(), tensors[0]), name
        for own, moved in zip(tensors, low[name], strict=True):
            torch.testing.assert_close(moved, own, rtol=0, atol=0)
    moved = inputs.to("meta")
    assert {tensor.device.type for name in names for tensor in moved[name]} == {"meta"}


# Generation.


@torch.inference_mode()
def test_generate_returns_prompt_and_answer(model: Model, batch: dict[str, Any]) -> None:
    out = model.generate(**batch, **GREEDY)
    length = batch["input_ids"].shape[1]
    assert torch.equal(out[:, :length], batch["input_ids"])
    assert out.shape[1] == length + 8


@torch.inference_mode()
def test_greedy_tokens_are_those_of_repeated_forwards(
    model: Model, three: list[dict[str, Any]]
) -> None:
    """No cache: every step reads the whole sequence again, so positions cannot go wrong."""
    inputs = three[0]
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    ids = inputs["input_ids"]
    for _ in range(8):
        logits = model(
            ids, encoding=encoding, regions=regions, image_grid_thw=inputs["image_grid_thw"]
        ).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(model.generate(**inputs, **GREEDY), ids)
    assert len(set(ids[0, -8:].tolist())) > 1


@torch.inference_mode()
def test_beams(model: Model, batch: dict[str, Any]) -> None:
    out = model.generate(**batch, **GREEDY, num_beams=3, num_return_sequences=2)
    assert out.shape == (6, batch["input_ids"].shape[1] + 8)
    assert torch.equal(out[::2, :-8], batch["input_ids"])
    assert torch.equal(model.generate(**batch, **GREEDY, num_beams=3), out[::2])


@torch.inference_mode()
def test_generate_leaves_the_settings_alone(model: Model, three: list[dict[str, Any]]) -> None:
    ours, host = model.generation_config.to_dict(), model.vlm.generation_config.to_dict()
    model.generate(**three[0], max_new_tokens=2, do_sample=True, temperature=0.5)
    assert model.generation_config.to_dict() == ours
    assert model.vlm.generation_config.to_dict() == host


# One picture, many questions.


@torch.inference_mode()
def test_encoders_run_once_when_an_encoding_is_reused(
    model: Model, three: list[dict[str, Any]]
) -> None:
    inputs, calls = three[0], Counter[str]()
    handles = [
        model.get_submodule(part).register_forward_hook(lambda *_, part=part: calls.update([part]))
        for part in VISION_PARTS
    ]
    try:
        encoding = model.encode_images(inputs)
        grid = {"image_grid_thw": inputs["image_grid_thw"]}
        for boxes in (slice(0, 3), slice(None, None, 1)):
            regions = model.encode_regions(
                encoding,
                [b[boxes] for b in inputs["auxiliary_boxes"]],
                [b[boxes] for b in inputs["host_boxes"]],
            )
            prompt = {"input_ids": inputs["input_ids"], "encoding": encoding, "regions": regions}
            model(**prompt, **grid)
            model.generate(**prompt, **grid, **GREEDY)
        assert calls == dict.fromkeys(VISION_PARTS, 1)
        model.generate(**inputs, **GREEDY)
        assert calls == dict.fromkeys(VISION_PARTS, 2)
    finally:
        for handle in handles:
            handle.remove()


def ask(model: Model, inputs: dict[str, Any], scene: tuple[Any, Any]) -> Tensor:
    encoding, regions = scene
    return model.generate(
        inputs["input_ids"],
        encoding=encoding,
        regions=regions,
        image_grid_thw=inputs["image_grid_thw"],
        **GREEDY,
    )


def encode(model: Model, inputs: dict[str, Any]) -> tuple[Any, Any]:
    with torch.inference_mode():
        encoding = model.encode_images(inputs)
        return encoding, model.encode_regions(
            encoding, inputs["auxiliary_boxes"], inputs["host_boxes"]
        )


def test_scenes_do_not_disturb_each_other(model: Model, three: list[dict[str, Any]]) -> None:
    expected = [model.generate(**inputs, **GREEDY) for inputs in three]
    scenes = [encode(model, inputs) for inputs in three]
    for index in (0, 1, 0, 2, 1, 0):
        assert torch.equal(ask(model, three[index], scenes[index]), expected[index])


@torch.inference_mode()
def test_cache_of_one_scene_survives_another(model: Model, three: list[dict[str, Any]]) -> None:
    """The host keeps `rope_deltas` of its last call; explicit positions make that harmless."""
    first = three[0]
    prompt, more = first["input_ids"], torch.tensor([[100, 101, 102]])
    start = model(**first, use_cache=True)
    model.vlm(**host_inputs(model, three[1]))  # leaves another delta behind
    mask = torch.ones(1, prompt.shape[1] + 3, dtype=torch.long)
    positions = model.family.position_ids(model.vlm, torch.cat([prompt, more], dim=1), mask, first)
    continued = model(
        more,
        attention_mask=mask,
        position_ids=positions[..., -3:],
        past_key_values=start.past_key_values,
    )
    whole = dict(first) | {
        "input_ids": torch.cat([prompt, more], dim=1),
        "attention_mask": mask,
    }
    torch.testing.assert_close(continued.logits, model(**whole).logits[:, -3:], **CLOSE)


def test_continuing_a_cache_needs_positions(model: Model, three: list[dict[str, Any]]) -> None:
    start = model(**three[0], use_cache=True)
    length = three[0]["input_ids"].shape[1]
    with pytest.raises(ValueError, match=f"2 tokens continue {length} cached ones"):
        model(torch.tensor([[5, 6]]), past_key_values=start.past_key_values)


def test_two_threads(model: Model, three: list[dict[str, Any]]) -> None:
    expected = [model.generate(**inputs, **GREEDY) for inputs in three]
    scenes = [encode(model, inputs) for inputs in three]

    def work(index: int) -> bool:
        return torch.equal(ask(model, three[index], scenes[index]), expected[index])

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(work, [0, 1] * 6))


def test_encoding_is_left_as_it_was(model: Model, three: list[dict[str, Any]]) -> None:
    encoding, regions = encode(model, three[0])
    before = [t.clone() for t in (*encoding.host.tokens, *encoding.levels[0], regions.embeddings)]
    ask(model, three[0], (encoding, regions))
    after = [*encoding.host.tokens, *encoding.levels[0], regions.embeddings]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert np.isfinite(regions.features.numpy()).all()


# Windows.


@pytest.mark.parametrize(
    "text",
    [
        MistralConfig(sliding_window=16),  # one kind of layer, which its config does not name
        Qwen2Config(use_sliding_window=True, sliding_window=16, max_window_layers=1),
        Llama4TextConfig(attention_chunk_size=16),
    ],
    ids=lambda config: config.model_type,
)
def test_a_sequence_longer_than_what_a_layer_sees_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch, text: Any
) -> None:
    monkeypatch.setattr(model.config, "get_text_config", lambda decoder=False: text)
    model.check_attention(16)
    with pytest.raises(ValueError, match=r"see 16 tokens, the sequence has 17; give fewer"):
        model.check_attention(17)


def test_other_hosts_see_all_of_any_sequence(model: Model) -> None:
    model.check_attention(10**6)


@pytest.mark.parametrize(
    "mode", [{"prompt_lookup_num_tokens": 3}, {"prefill_chunk_size": 16}, {"assistant_model": "x"}]
)
def test_modes_of_generate_that_would_lose_the_regions_are_refused(
    model: Model, processor: FO1Processor, mode: dict[str, Any]
) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3, seed=1))
    with pytest.raises(
        ValueError, match=f"{next(iter(mode))} reads the prompt without its regions"
    ):
        model.generate(**inputs, **GREEDY, **mode)
