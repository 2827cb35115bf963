"""Any conversation: pictures, turns, system prompts, references; batches and threads change nothing."""

import threading
from typing import Any

import pytest
import torch

from fo1.errors import FO1Error, InputError, QueryError
from fo1.layout import Picture, Turn
from fo1.pipeline import FO1, Reply, Request, Scene
from fo1.pipeline.chat import Chat, write
from fo1.pipeline.engine import Engine
from fo1.pipeline.rows import Text
from fo1.prompts import Task
from tests import tiny
from tests.pipeline.conftest import SIZE, front, record

VISION = "<|vision_start|><image><|vision_end|>\n"


def image(count: int | None = 2, seed: int = 0, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "image", "image": tiny.picture(*size, seed=seed)}
    return part if count is None else {**part, "boxes": tiny.boxes(count, *size, seed=seed)}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if len(parts) == 1 else list(parts)}


def test_several_pictures_turns_and_a_system_prompt(writing: FO1, monkeypatch) -> None:
    rows = record(monkeypatch, "<ground>cup</ground><objects><region3><region0></objects>")
    scene = writing.encode(tiny.picture(84, 196, seed=1), tiny.boxes(3, 84, 196))
    reply = writing.chat(
        [
            {"role": "system", "content": "Be brief."},
            user(
                text("one:"),
                image(2),
                text("two:"),
                image(None, 5),
                {"type": "image", "image": scene},
            ),
            {"role": "assistant", "content": "<ground>cat</ground><objects><region1></objects>"},
            user("and <region4> of <image>?"),
        ]
    )
    assert rows[0].prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        f"one:{VISION}<region0><regionfeat><region1><regionfeat>\n"
        f"two:{VISION}{VISION}"
        "<region2><regionfeat><region3><regionfeat><region4><regionfeat>\n<|im_end|>\n"
        "<|im_start|>assistant\n<ground>cat</ground><objects><region1></objects><|im_end|>\n"
        "<|im_start|>user\nand <region4> of \u2039image\u203a?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert rows[0].placed == ((0, 0), (0, 1), (2, 0), (2, 1), (2, 2))
    assert rows[0].num_regions == 5
    assert isinstance(reply, Reply)
    assert reply.answer.regions == (3, 0)
    assert [found.regions.tolist() for found in reply.detections] == [[0], [], [1]]
    assert reply.detections[2].boxes.tolist() == scene.regions[[1]].tolist()
    assert reply.message == {"role": "assistant", "content": reply.answer.text}
    assert str(reply) == "cup"


def test_chats_of_every_kind_run(writing: FO1) -> None:
    chats = [
        [user("hello")],
        [user(image(None), text("what is this?"))],
        [user(image(0), text("what is this?"))],
        [user(image(3), image(2, 1, (84, 196)), text("is <region0> like <region4>?"))],
    ]
    for messages in chats:
        reply = writing.chat(messages)
        count = sum(len(p.get("boxes", ())) for p in messages[0]["content"] if isinstance(p, dict))
        assert all(cited.region < count for cited in reply.answer.citations)
        again = writing.chat([*messages, reply.message, user("and why?")])
        assert again.answer.text
        assert len(again.detections) == len(reply.detections)


def test_many_regions_over_several_pictures_make_tiles(writing: FO1, monkeypatch) -> None:
    monkeypatch.setattr(Engine, "max_regions", 3)
    rows = record(monkeypatch, "<region0>", "<region1>")
    reply = writing.chat([user(image(3), image(2, 1), text("what?"))])
    assert [row.placed for row in rows] == [((0, 0), (0, 1), (0, 2)), ((1, 0), (1, 1))]
    assert [row.prompt.count("<image>") for row in rows] == [2, 2]
    assert [cited.region for cited in reply.answer.citations] == [0, 4]
    assert reply.answer.problems


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "not the user's"),
        ("hello", "messages are a str"),
        (None, "messages are a NoneType"),
        ({"role": "user", "content": "a"}, "messages are a dict"),
        ([{"role": "user"}], "message 0 has no role and content"),
        (["hi"], "message 0 has no role"),
        ([{"role": "tool", "content": "a"}], "by 'tool'; give system, user or assistant"),
        ([user("a"), {"role": "assistant", "content": "b"}], "not the user's"),
        ([user("a"), {"role": "system", "content": "b"}], "the system speaks first"),
        ([user(image(1), image(1))], "holds no text"),
        ([user(" ")], "holds no text"),
        ([{"role": "system", "content": "<region0>"}, user("a")], "region 0 does not exist"),
        ([user(image(2), text("is it <region2>?"))], "region 2 does not exist.*regions 0 to 1"),
        ([user("is it <region0>?")], "region 0 does not exist.*no regions"),
        ([user({"type": "video", "video": "a.mp4"}, text("a"))], "message 0 holds a part"),
        ([user({"type": "image"}, text("a"))], "message 0 holds a part"),
        ([user(7)], "content is a int"),
        (
            [user({"type": "image", "image": "nowhere.png"}, text("a"))],
            "nowhere.png does not exist",
        ),
        ([user({**image(1), "boxes": [[9, 9, 1, 1]]}, text("a"))], "x2 = 1 is less than"),
    ],
)
def test_unusable_chats(writing: FO1, messages: Any, words: str) -> None:
    with pytest.raises(FO1Error, match=words) as caught:
        writing.chat(messages)
    assert "\n" not in str(caught.value)


def test_scenes_belong_to_their_model(writing: FO1) -> None:
    scene = front(tiny.make_model()).encode(tiny.picture(*SIZE), [])
    with pytest.raises(InputError, match="encode the picture again"):
        writing.chat([user({"type": "image", "image": scene}, text("what?"))])
    own = writing.encode(tiny.picture(*SIZE), [])
    with pytest.raises(InputError, match="leave the boxes out"):
        writing.chat([user({"type": "image", "image": own, "boxes": []}, text("what?"))])


def test_a_reference_in_a_later_turn_may_name_an_earlier_picture(writing: FO1, monkeypatch) -> None:
    rows = record(monkeypatch, "no")
    writing.chat([user(image(2), text("a?")), user(image(1, 1), text("<region0> or <region2>?"))])
    assert rows[0].prompt.endswith(
        f"{VISION}<region2><regionfeat>\n<region0> or <region2>?<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(QueryError, match="region 2 does not exist"):
        writing.chat([user(image(2), text("<region2>?")), user(image(1), text("a?"))])


def mixed(model: FO1) -> list[Chat]:
    """Chats of different pictures, sizes, region counts, turns and system prompts."""
    scenes = [
        model.encode(tiny.picture(*size, seed=seed), tiny.boxes(count, *size, seed=seed))
        for seed, (count, size) in enumerate(
            [(3, SIZE), (0, (84, 196)), (12, (56, 56)), (1, (224, 84)), (5, (140, 140))]
        )
    ]

    def turn(*parts: Any) -> Turn:
        return Turn("user", parts)

    pictures = [Picture(len(scene)) for scene in scenes]
    return [
        Chat((turn("hello there"),), ()),
        Chat((turn(pictures[0], "what is <region2>?"),), (scenes[0],)),
        Chat((turn(pictures[1], "what is this?"),), (scenes[1],), system=None),
        Chat((turn(pictures[2], "a?"),), (scenes[2],), system="Answer at length, please."),
        Chat(
            (
                turn("see ", pictures[3], pictures[4], "which is alike?"),
                Turn("assistant", ("<ground>a</ground><objects><region5></objects>",)),
                turn(pictures[0], "or <region7>?"),
            ),
            (scenes[3], scenes[4], scenes[0]),
        ),
    ]


def test_a_batch_equals_single_runs_token_for_token(writing: FO1, monkeypatch) -> None:
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 16)
    chats = mixed(writing)
    together = write(chats, writing.engine)
    assert together == [write([chat], writing.engine)[0] for chat in chats]
    assert together[::-1] == write(chats[::-1], writing.engine)
    assert len({said.answer.text for said in together}) == len(chats)


@pytest.mark.parametrize("score", [False, True])
def test_eight_threads_on_eight_scenes(score: bool) -> None:
    model = front(tiny.make_model(score=score))
    sizes = [(140, 112), (84, 196), (56, 56), (112, 112), (196, 84), (70, 140), (98, 98), (28, 140)]

    def encode(number: int) -> Scene:
        size = sizes[number]
        boxes = tiny.boxes(number, *size, seed=number)
        return model.encode(tiny.picture(*size, seed=number), boxes)

    def ask(scene: Scene, turn: int) -> Any:
        if turn % 3 == 0:
            found = scene.detect(["cat", "dog"])
            return found.regions.tolist(), found.labels, found.scores.round(4).tolist()
        if turn % 3 == 1:
            return scene.ask("what is this?").text
        return scene.ground().text

    scenes = [encode(number) for number in range(8)]
    serial = [[ask(scene, turn) for turn in range(3)] for scene in scenes]
    answers: dict[tuple[int, int], Any] = {}
    start = threading.Barrier(8)

    def run(thread: int) -> None:
        start.wait()
        for turn in range(8):
            number = (thread + turn) % 8
            # Every thread also encodes, so that no scene can lean on what another left behind.
            scene = encode(number) if turn % 2 else scenes[number]
            answers[thread, turn] = (number, turn % 3, ask(scene, turn))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 64
    for number, kind, answer in answers.values():
        assert answer == serial[number][kind]
    assert len({str(rows) for rows in serial}) == 8


def test_a_thought_is_kept_apart(writing: FO1, monkeypatch) -> None:
    rows = record(monkeypatch, "<think>see <region1></think><answer>It is <region0>.</answer>")
    answer = writing.encode(tiny.picture(*SIZE), tiny.boxes(2, *SIZE)).ask("which?", think=True)
    assert "<think> reasoning process here </think>" in rows[0].prompt
    assert rows[0].prompt.endswith("better. which?<|im_end|>\n<|im_start|>assistant\n")
    assert (answer.thought, answer.answer) == ("see <region1>", "It is <region0>.")
    assert [(c.region, c.part) for c in answer.citations] == [(1, "thought"), (0, "answer")]


@pytest.mark.parametrize(
    "request_",
    [
        Request(task=Task.DETECT, queries=("cat",)),
        Request(task=Task.REFER, queries=("cat",)),
        Request(task=Task.COUNT, queries=("cat",)),
        Request(task=Task.DESCRIBE, regions=(0,)),
        Request(task=Task.READ, regions=(0,)),
        Request(task=Task.GROUND),
        Request(task=Task.SIMILAR, regions=(0,)),
        Request(task=Task.ASK, queries=("what is this?",)),
    ],
    ids=lambda request: str(request.task),
)
def test_an_answer_that_was_cut_says_so(writing: FO1, monkeypatch, request_: Request) -> None:
    scene = writing.encode(tiny.picture(*SIZE), tiny.boxes(2, *SIZE))
    monkeypatch.setattr(
        Engine, "generate", lambda _, rows, *__: [Text("a cup", False) for _ in rows]
    )
    assert any("was cut" in problem for problem in scene.answer(request_).problems)
    monkeypatch.setattr(Engine, "generate", lambda _, rows, *__: [Text("a cup") for _ in rows])
    assert not any("was cut" in problem for problem in scene.answer(request_).problems)


def test_texts_of_one_message_keep_their_spaces(writing: FO1, monkeypatch) -> None:
    rows = record(monkeypatch, "no", "no")
    writing.chat([user(text("Compare "), text("both "), text("cups."))])
    assert "user\nCompare both cups.<|im_end|>" in rows[0].prompt
    writing.chat([user(text(" "), image(1), text("what?"))])
    assert rows[1].prompt.count("<image>") == 1


def test_system_and_history_take_part_in_tiles(writing: FO1, monkeypatch) -> None:
    monkeypatch.setattr(Engine, "max_regions", 3)
    rows = record(monkeypatch, "<region0><region1>", "<region0>", "<region2>", *["no"] * 4)
    messages = [
        {"role": "system", "content": "mind <region4>"},
        user(image(5), text("what is here?")),
    ]
    reply = writing.chat(messages)
    assert ["mind <region2>" in row.prompt for row in rows] == [True, True]
    assert reply.answer.text == "<region0><region1>\n<region2>"
    rows.clear()
    # An answer may name more regions than a tile shows; those that are not shown are words there.
    writing.chat([*messages, reply.message, user("and why?")])
    assert "assistant\n<region0><region1>\nregion 2<|im_end|>" in rows[0].prompt
    assert "assistant\nregion 0region 1\n<region0><|im_end|>" in rows[1].prompt


@torch.inference_mode()
def test_an_answer_names_only_what_is_there(writing: FO1, monkeypatch) -> None:
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 40)
    for count in (0, 1, 4):
        scene = writing.encode(tiny.picture(*SIZE, seed=count), tiny.boxes(count, *SIZE))
        for number in range(4):
            answer = scene.ask(f"what is thing {number}?")
            assert not [p for p in answer.problems if "does not exist" in p or "closes" in p]
            for item in answer.groundings:
                assert len(set(item.regions)) == len(item.regions)
