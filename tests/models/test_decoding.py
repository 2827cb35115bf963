"""Decoding under a grammar: the host's own tokens without one, readable answers with one."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from fo1.grammar import Grammar
from fo1.layout import TURN_END, TURN_START
from fo1.markup import Markup
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.decoding import Written, decode
from fo1.parsing import parse_answer
from fo1.pipeline.loading import packaged_folder
from fo1.tags import NONE_TEXT
from tests import tiny
from tests.parity.cases import STEPS, Run, run_case

Model = FO1ForConditionalGeneration
PAD, END = 1793, 1792
LIMIT = 24
SEEDS = {
    "qwen2_5_vl": 2,
    "qwen3_5": 3,
    "llava": 9,
    "gemma3": 1,
}  # models that end some answers and not others
TEXTS = ("Find the cup.", "Why?", "How many dogs are there?", "a b c", "Where is <region0>?")


@pytest.fixture(scope="module", params=tiny.KINDS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def leaning() -> Model:
    return leaning_model("qwen2_5_vl")


def leaning_model(family: str) -> Model:
    """Return a model that likes to write markup and to end."""
    model = tiny.make_model(family, seed=SEEDS[family])
    with torch.no_grad():
        rows = model.get_output_embeddings().weight
        rows[[*range(1814, 1818), *range(1820, 1828)]] *= 6
        rows[END] *= 5
    return model


@pytest.fixture(scope="module")
def markup(processor: FO1Processor) -> Markup:
    return markup_of(processor, tiny.VOCABULARY)


def markup_of(processor: FO1Processor, size: int) -> Markup:
    tokenizer = processor.tokenizer
    return Markup.from_vocabulary(
        tokenizer.get_vocab(),
        ends=[tokenizer.eos_token_id],
        none=tokenizer(NONE_TEXT, add_special_tokens=False)["input_ids"],
        special=tokenizer.all_special_ids,
        size=size,
    )


def scenes(count: int = 10) -> list[tiny.Scene]:
    """Return pictures of several sizes with 0, 1 or 7 regions and questions of several lengths."""
    sizes = [(84, 56), (56, 140), (112, 60)]
    return [
        tiny.scene(*sizes[i % 3], (1, 7, 0, 3)[i % 4], seed=i, text=TEXTS[i % len(TEXTS)])
        for i in range(count)
    ]


def write(
    model: Model,
    processor: FO1Processor,
    asked: Sequence[tiny.Scene],
    grammars: Sequence[Grammar | None],
    limit: int = LIMIT,
    ends: Sequence[int] = (END,),
) -> list[Written]:
    settings: dict[str, Any] = {"max_new_tokens": limit, "ends": ends, "pad": PAD}
    if model.recurrent and len(asked) > 1:
        with pytest.raises(ValueError, match=f"got {len(asked)} rows"):
            decode(model, **tiny.collate(processor, *asked), grammars=grammars, **settings)
        pairs = zip(asked, grammars, strict=True)
        return [row for s, g in pairs for row in write(model, processor, [s], [g], limit, ends)]
    return decode(model, **tiny.collate(processor, *asked), grammars=grammars, **settings)


def grammars_of(asked: Sequence[tiny.Scene], markup: Markup) -> list[Grammar]:
    return [Grammar(markup, len(scene.boxes), max_label=4) for scene in asked]


def assert_same(ones: Sequence[Written], others: Sequence[Written]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert (one.tokens, one.finished) == (other.tokens, other.finished)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def choices(grammar: Grammar, row: Written) -> int:
    """Return how many tokens of an answer were chosen, not forced; fails where one may not stand."""
    chosen, state = 0, grammar.start()
    for token, logprob in zip(row.tokens, row.logprobs, strict=True):
        allowed = grammar.allowed(state)
        forced = allowed.only and len(allowed.ids) == 1
        assert logprob == 0 if forced else logprob <= 0
        chosen += not forced
        state = grammar.advance(state, token)
    return chosen


@contextmanager
def forward_calls(model: Model) -> Iterator[list[tuple[int, int]]]:
    """Yield the (rows, tokens) of every pass of the host."""
    calls: list[tuple[int, int]] = []

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        ids = given.get("input_ids", given.get("inputs_embeds"))
        calls.append((ids.shape[0], ids.shape[1]))

    handle = model.vlm.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


# Without a grammar.


@pytest.mark.parametrize("penalty", [None, 1.3])
@pytest.mark.parametrize("rows", [1, 3])
def test_without_a_grammar_it_is_the_host_s_greedy_generate(
    family: str, monkeypatch: pytest.MonkeyPatch, rows: int, penalty: float | None
) -> None:
    model, processor = tiny.make_model(family), tiny.make_processor(family)
    monkeypatch.setattr(model.generation_config, "repetition_penalty", penalty)
    asked = scenes(6)[3 : 3 + rows]
    inputs = tiny.collate(processor, *asked)
    length = inputs["input_ids"].shape[1]

    def generate(ends: list[int]) -> list[list[int]]:
        out = model.generate(
            **inputs, max_new_tokens=LIMIT, do_sample=False, eos_token_id=ends or None
        )
        return out[:, length:].tolist()

    whole = generate([])
    ends = sorted({answer[2 + 3 * row] for row, answer in enumerate(whole)})
    for tokens in ([], ends):
        expected = [
            answer[: next((i + 1 for i, t in enumerate(answer) if t in tokens), LIMIT)]
            for answer in generate(tokens)
        ]
        written = write(model, processor, asked, [None] * rows, ends=tokens)
        assert [list(row.tokens) for row in written] == expected
        assert [row.finished for row in written] == [bool(tokens)] * rows
    assert len(set(whole[0])) > 3


@pytest.mark.parametrize("case", ["chelsea_7", "small_2", "roi14_chelsea_7"])
def test_golden_tokens(case: str) -> None:
    run: Run = run_case(case)
    (written,) = decode(
        run.model, **run.inputs, grammars=[None], max_new_tokens=STEPS, ends=(), pad=PAD
    )
    assert list(written.tokens) == run.golden["generated_ids"].tolist()
    logits = torch.cat(run.generated.logits).log_softmax(-1)
    best = logits.gather(1, run.generated.sequences[0, -STEPS:, None])[:, 0]
    assert written.logprobs == pytest.approx(best.tolist(), abs=1e-4)


def test_packaged_model() -> None:
    """The published vocabulary is not the only one: here "None" is two tokens and answers have tags."""
    folder = packaged_folder()
    model = Model.from_pretrained(folder).eval()
    processor = FO1Processor.from_pretrained(folder)
    turn = f"{TURN_END}\n{TURN_START}assistant\n"
    asked = [tiny.scene(140, 112, n, seed=n, text=TEXTS[n] + turn) for n in (2, 3)]
    inputs = tiny.collate(processor, *asked)
    ends, pad = [model.generation_config.eos_token_id], processor.tokenizer.pad_token_id
    out = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False)
    settings: dict[str, Any] = {"max_new_tokens": LIMIT, "ends": ends, "pad": pad}
    free = decode(model, **inputs, grammars=[None, None], **settings)
    for answer, row in zip(out[:, inputs["input_ids"].shape[1] :].tolist(), free, strict=True):
        assert answer[: len(row.tokens)] == list(row.tokens)
        assert set(answer[len(row.tokens) :]) <= {pad}
    own = markup_of(processor, model.get_input_embeddings().num_embeddings)
    assert (len(own.none), len(own.sections), len(own.regions)) == (2, 2, 100)
    bound = decode(model, **inputs, grammars=grammars_of(asked, own), **settings)
    for scene, row in zip(asked, bound, strict=True):
        if row.finished:
            text = own.text(row.tokens, processor.tokenizer.decode)
            assert parse_answer(text, len(scene.boxes)).problems == ()


# Under a grammar.


def oracle(
    model: Model, processor: FO1Processor, scene: tiny.Scene, grammar: Grammar, limit: int = LIMIT
) -> Written:
    """Return what one row writes when every token is chosen by reading the whole sequence again."""
    inputs = tiny.collate(processor, scene)
    encoding = model.encode_images(inputs)
    regions = model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    ids, state = inputs["input_ids"], grammar.start()
    seen = {k: inputs[k] for k in model.family.image_inputs if "pixel_values" not in k}
    tokens: list[int] = []
    logprobs: list[float] = []
    while len(tokens) < limit and not (tokens and tokens[-1] == END):
        logits = model(ids, encoding=encoding, regions=regions, **seen).logits[0, -1]
        allowed = grammar.allowed(state)
        ranked = logits.argsort(descending=True).tolist()
        token = next(token for token in ranked if token in allowed)
        forced = allowed.only and len(allowed.ids) == 1
        tokens.append(token)
        logprobs.append(0.0 if forced else logits.log_softmax(-1)[token].item())
        state = grammar.advance(state, token)
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return Written(tuple(tokens), tuple(logprobs), tokens[-1] == END)


@torch.inference_mode()
def test_a_batch_writes_what_repeated_forwards_of_single_rows_do(
    family: str, markup: Markup
) -> None:
    """The oracle has no cache, no padding and skips nothing."""
    leaning, processor = leaning_model(family), tiny.make_processor(family)
    asked = scenes(8)
    grammars = grammars_of(asked, markup)
    together = write(leaning, processor, asked, grammars)
    apart = [
        oracle(leaning, processor, scene, grammar)
        for scene, grammar in zip(asked, grammars, strict=True)
    ]
    assert_same(together, apart)
    assert {row.finished for row in together} == {True, False}
    # Rows were forced to go on with different numbers of tokens.
    skipped = {len(r.tokens) - choices(g, r) for g, r in zip(grammars, together, strict=True)}
    assert len(skipped) > 2


def test_a_batch_equals_single_runs(
    leaning: Model, processor: FO1Processor, markup: Markup
) -> None:
    asked = scenes(9)
    grammars: list[Grammar | None] = [*grammars_of(asked, markup)]
    grammars[2] = grammars[5] = None
    together = write(leaning, processor, asked, grammars)
    for row, scene, grammar in zip(together, asked, grammars, strict=True):
        assert_same([row], write(leaning, processor, [scene], [grammar]))


def test_answers_are_well_formed(leaning: Model, processor: FO1Processor, markup: Markup) -> None:
    asked = scenes(60)
    named = 0
    for start in range(0, len(asked), 10):
        chunk = asked[start : start + 10]
        grammars = grammars_of(chunk, markup)
        for scene, grammar, row in zip(
            chunk, grammars, write(leaning, processor, chunk, grammars, limit=40), strict=True
        ):
            choices(grammar, row)
            text = markup.text(row.tokens, processor.tokenizer.decode)
            read = parse_answer(text, len(scene.boxes))
            named += len(read.regions)
            if row.finished:
                assert set(read.problems) <= {"objects without a label"}, text
    assert {len(scene.boxes) for scene in asked} >= {0, 1, 7}
    assert named > 10
    free = write(leaning, processor, asked, [None] * len(asked))
    pairs = list(zip(grammars_of(asked, markup), free, strict=True))
    with pytest.raises(ValueError, match="may not follow"):  # or the grammar changes nothing
        [choices(grammar, row) for grammar, row in pairs]


def test_forced_tokens_cost_no_pass(
    leaning: Model, processor: FO1Processor, markup: Markup
) -> None:
    asked, skipped = scenes(24), 0
    grammars = grammars_of(asked, markup)
    for scene, grammar in zip(asked, grammars, strict=True):
        with forward_calls(leaning) as calls:
            (row,) = write(leaning, processor, [scene], [grammar])
        chosen = choices(grammar, row)
        assert len(calls) == chosen
        # What comes last is not fed any more, and may be several tokens.
        assert sum(tokens for _, tokens in calls[1:]) < len(row.tokens)
        skipped += len(row.tokens) - chosen
    assert skipped > 10


def test_rows_that_are_done_cost_nothing(
    leaning: Model, processor: FO1Processor, markup: Markup
) -> None:
    asked = scenes(8)
    grammars = grammars_of(asked, markup)
    with forward_calls(leaning) as calls:
        written = write(leaning, processor, asked, grammars)
    chosen = [choices(grammar, row) for grammar, row in zip(grammars, written, strict=True)]
    expected = [sum(passes > step for passes in chosen) for step in range(max(chosen))]
    assert [rows for rows, _ in calls] == expected
    assert expected[0] == 8 > expected[-1]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_long_answers_are_cut(
    leaning: Model, processor: FO1Processor, markup: Markup, limit: int
) -> None:
    asked = scenes(6)
    grammars = grammars_of(asked, markup)
    whole = write(leaning, processor, asked, grammars)
    cut = write(leaning, processor, asked, grammars, limit=limit)
    for long, short in zip(whole, cut, strict=True):
        assert short.tokens == long.tokens[:limit]
        assert len(short.logprobs) == len(short.tokens)
        assert short.finished == (long.finished and len(long.tokens) <= limit)


def test_two_threads(leaning: Model, processor: FO1Processor, markup: Markup) -> None:
    groups = [scenes(6)[:2], scenes(6)[2:5]]
    jobs = [(group, grammars_of(group, markup)) for group in groups]
    expected = [write(leaning, processor, *job) for job in jobs]

    def work(index: int) -> list[Written]:
        return write(leaning, processor, *jobs[index])

    order = [0, 1] * 6
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, order))
    assert found == [expected[index] for index in order]


def test_half_precision(processor: FO1Processor, markup: Markup) -> None:
    model = tiny.make_model().to(torch.bfloat16)
    asked = scenes(3)
    for row in write(model, processor, asked, grammars_of(asked, markup)):
        assert len(row.tokens) == LIMIT or row.finished
        assert all(logprob <= 0 for logprob in row.logprobs)


def test_wrong_use_is_told(leaning: Model, processor: FO1Processor, markup: Markup) -> None:
    asked = scenes(2)
    with pytest.raises(ValueError, match="got 1 grammars for 2 rows"):
        write(leaning, processor, asked, [None])
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        write(leaning, processor, asked, [None, None], limit=0)
    with pytest.raises(ValueError, match=r"ends with \[1792\], but decoding with \[5\]"):
        write(leaning, processor, asked, grammars_of(asked, markup), ends=[5])
