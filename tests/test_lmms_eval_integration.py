"""The lmms-eval adapter and task files; what needs lmms_eval itself is skipped without it."""

import ast
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fo1.errors import FO1Error, InputError
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import accuracy
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.task import EvalTask, Figure
from fo1.evaluation.tasks import TASKS
from fo1.geometry import box_iou
from fo1.pipeline import FO1, Request
from fo1.pipeline.engine import Engine
from fo1.prompts import Task
from tests.tiny import make_model, make_processor, picture

HOME = Path(__file__).parents[1] / "integrations/lmms_eval"
sys.path.append(str(HOME))

import fo1_answers  # noqa: E402
import fo1_questions  # noqa: E402
from fo1_answers import Part, figures, join, prompt, understand  # noqa: E402
from fo1_questions import read_prompt, reply, scaled, with_boxes  # noqa: E402

# Said while lmms_eval is compiled for the first time.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence")
TASK_FILES = sorted((HOME / "tasks").glob("*.yaml"))
SIZE = (100, 200)

# Prompts of lmms-eval 0.7.3, filled in.
ODINW = (
    "Locate every instance that belongs to the following categories: \u00b4cat, big dog\u00b4. "
    "Report bbox coordinates in JSON format."
)
GROUNDING = (
    'Locate every object that matches the description "the red cup", "cup, left" in the image. '
    "Report bbox coordinates in JSON format."
)
REC = (
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, "
    "bottom-right y). All values are floating point numbers bounded between 0 and 1. Please provide "
    "the bounding box coordinate of the region this sentence describes: man in blue"
)
GROUNDINGME = (
    "Please provide the bounding box coordinate of the object the following statement describes:\n"
    "a white van\nEnsure that all details mentioned about the object are accurate."
)
COUNT = "Look at the image carefully. How many red cars are there in the image?"


class _Loader(yaml.SafeLoader):
    """Reads `!function utils.x` as the words behind it, as lmms-eval does to index tasks."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def _yaml(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(), _Loader)
    if "include" in content:
        return {**_yaml(path.parent / content.pop("include")), **content}
    return content


def _names(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


@dataclass(frozen=True, kw_only=True)
class Boxes(EvalTask[np.ndarray]):
    """A task of the test: is the best box of each request the true one?"""

    name = "boxes"
    title = "boxes"
    most = 5

    @classmethod
    def load(cls, data: Path) -> "Boxes":
        asked = [["cup"], ["cat", "dog"], ["tree"]]
        examples = [
            Example(
                f"e{number}",
                f"p{number}",
                data / f"{number}.png",
                tuple(Request(task=Task.DETECT, queries=(n,), threshold=0.0) for n in names),
                np.array([[10 * number, 5, 40 + 10 * number, 60]], np.float32),
            )
            for number, names in enumerate(asked)
        ]
        return cls(examples=tuple(examples))

    def measure(self, predictions, weights):
        rows = [
            (picture, box_iou(example.truth, prediction.boxes[said.regions[:1]]).max(initial=0))
            for picture, example, prediction in self.pairs(predictions)
            for said in prediction.said
        ]
        pictures = [picture for picture, _ in rows]
        return [Figure("IoU", accuracy([value for _, value in rows], pictures, weights))]

    def perfect(self, example):
        said = [Said.found([(request.queries[0], 0)]) for request in example.requests]
        return Prediction.made(example, example.truth, *said, image_size=SIZE)


@pytest.fixture(scope="module")
def model() -> FO1:
    return FO1(Engine("tiny", make_model(score=True), make_processor()), Path(), proposer="grid")


@pytest.fixture(scope="module")
def writer() -> FO1:
    writing = make_model()
    writing.generation_config.max_new_tokens = 24
    return FO1(Engine("writer", writing, make_processor()), Path(), proposer="grid")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(3):
        picture(SIZE[1], SIZE[0], number).save(tmp_path / f"{number}.png")
    return tmp_path


def _example(*requests: Request, boxes: Any = None) -> Example[None]:
    given = None if boxes is None else np.array(boxes, np.float32)
    return Example("key", "picture", "a.png", requests, None, given)


CUP = Request(task=Task.DETECT, queries=("cup", "cat"))


# The files


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: path.stem)
def test_a_task_file_names_what_there_is(path: Path):
    content = _yaml(path)
    assert content["task"] == f"fo1_{path.stem}"
    assert content["dataset_name"] in TASKS
    assert content["output_type"] == "generate_until"
    assert content["metric_list"]
    assert all(
        {"metric"} <= set(row) <= {"metric", "higher_is_better"} for row in content["metric_list"]
    )
    module, name = content["class"].split(".")
    assert name in _names(HOME / f"tasks/{module}.py")


def test_what_lmms_eval_lacks_is_there():
    found = {_yaml(path)["dataset_name"] for path in TASK_FILES}
    wanted = {"coco", "lvis", "ovdeval", "humanref", "lvis-regions", "paco-regions", "coco-text"}
    assert found == wanted | {"refcocog-caption", "vg-caption"}


def test_the_entry_point_names_a_function():
    text = (HOME / "pyproject.toml").read_text()
    module, name = re.search(r'^fo1 = "(\w+):(\w+)"', text, re.MULTILINE).groups()
    assert name in _names(HOME / f"{module}.py")
    modules = {path.stem for path in HOME.glob("*.py")}
    assert set(re.findall(r'"(fo1_\w+)"', text)) == modules


# Questions


@pytest.mark.parametrize(
    ("text", "family", "task", "queries", "threshold"),
    [
        (ODINW, "odinw13", Task.DETECT, ("cat", "big dog"), None),
        (GROUNDING, "refcoco_grounding", Task.REFER, ("the red cup", "cup, left"), 0.0),
        (REC, "refcoco_bbox_rec", Task.REFER, ("man in blue",), 0.0),
        (GROUNDINGME, "groundingme", Task.REFER, ("a white van",), None),
        (COUNT, "counting", Task.COUNT, ("red cars",), None),
    ],
)
def test_prompts_of_known_families_become_verbs(text, family, task, queries, threshold):
    found, request = read_prompt(text)
    assert found.name == family
    assert (request.task, request.queries, request.threshold) == (task, queries, threshold)
    assert read_prompt(text, 0.25)[1].threshold == 0.25


def test_any_other_prompt_is_a_free_question():
    family, request = read_prompt("Is there a dog?\nAnswer yes or no.")
    assert family is None
    assert (request.task, request.queries) == (Task.ASK, ("Is there a dog?\nAnswer yes or no.",))


def test_an_empty_prompt_is_an_error():
    with pytest.raises(FO1Error, match="empty"):
        read_prompt("  ")


# Answers to lmms-eval's own tasks


def _said(text: str, scores=(0.9, 0.5)) -> tuple[Prediction, Said]:
    said = Said.found([("cat", 1), ("big dog", 0)], scores, count=2, written=(text,))
    example = _example(CUP)
    boxes = [[0, 0, 100, 50], [20.26, 10, 60, 30]]
    return Prediction.made(example, boxes, said, image_size=SIZE), said


def test_detections_are_written_as_json_in_pixels():
    family, _ = read_prompt(ODINW)
    assert json.loads(reply(family, *_said(""))) == [
        {"bbox_2d": [20.3, 10.0, 60.0, 30.0], "label": "cat", "score": 0.9},
        {"bbox_2d": [0.0, 0.0, 100.0, 50.0], "label": "big dog", "score": 0.5},
    ]


def test_each_family_has_its_form():
    assert reply(read_prompt(REC)[0], *_said("")) == "[0.1013, 0.1, 0.3, 0.3]"
    assert reply(read_prompt(GROUNDINGME)[0], *_said("")) == '{"bbox_2d": [20.3, 10.0, 60.0, 30.0]}'
    assert reply(read_prompt(COUNT)[0], *_said("")) == "2"


def test_nothing_found_has_its_form_too():
    nothing = Prediction.made(_example(CUP), [], Said(), image_size=SIZE)
    written = {name: reply(read_prompt(name)[0], nothing, Said()) for name in (ODINW, GROUNDINGME)}
    assert written == {ODINW: "[]", GROUNDINGME: '{"bbox_2d": null}'}
    assert reply(read_prompt(REC)[0], nothing, Said()) == ""
    assert reply(read_prompt(COUNT)[0], nothing, Said()) == "0"


def test_coordinates_can_be_chosen():
    assert reply(read_prompt(REC)[0], *_said(""), "thousand") == "[101, 100, 300, 300]"
    assert scaled([20, 10, 60, 30], SIZE, "unit") == [0.1, 0.1, 0.3, 0.3]
    assert scaled([20, 10, 60, 30], (0, 0), "unit") == [20, 10, 60, 30]
    with pytest.raises(InputError, match="'percent'; give one of auto, none, pixel"):
        fo1_questions.as_coordinates("percent")


def test_free_answers_lose_their_markup_or_keep_boxes():
    text = "The <ground>cat</ground><objects><region1></objects> is on <region0>, not <region7>."
    assert reply(None, *_said(text)) == "The cat is on region 0, not region 7."
    assert reply(None, *_said(text), "none") == "The cat is on region 0, not region 7."
    assert reply(None, *_said(text), "thousand") == (
        "The cat [101, 100, 300, 300] is on [0, 0, 500, 500], not region 7."
    )
    assert with_boxes("no regions", [[1, 2, 3, 4]]) == "no regions"


# Answers to our tasks


def test_our_answer_comes_back_as_it_left():
    example = _example(CUP)
    said = Said.found([("cup", 1)], [0.123456], evidence={"head": np.array([0.5])}, written=("x",))
    sent = Prediction.made(example, [[0, 0, 1, 1], [2, 3, 4.25, 5]], said, image_size=SIZE)
    back = understand(json.dumps(sent.to_row()), example, 0)
    assert json.dumps(back.to_row()) == json.dumps(sent.to_row())


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [1, 2, 3, 4], "label": "Cup", "score": 0.5}]',
        'Here:\n```json\n[{"bbox": [1.0, 2, 3, 4], "label": " cup ", "score": 0.5}, {"bbox_2d": [1',
    ],
)
def test_boxes_of_other_models_are_read(text):
    (said,) = (got := understand(text, _example(CUP), 0)).said
    assert got.boxes.tolist() == [[1, 2, 3, 4]]
    assert (said.labels, said.regions.tolist(), said.scores.tolist()) == (("cup",), [0], [0.5])


def test_labels_outside_the_list_stay_outside_unless_one_name_was_asked():
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "plate"}]'
    assert understand(text, _example(CUP), 0).said[0].labels == ("plate",)
    alone = Request(task=Task.DETECT, queries=("the woman",))
    assert understand(text, _example(alone), 0).said[0].labels == ("the woman",)


@pytest.mark.parametrize(
    "text",
    [
        "no idea",
        "[" * 50_000,
        "{" * 50_000,
        '{"bbox_2d": ' + "[" * 50_000 + "}",
        '[{"bbox_2d": [1, 2, 3], "label": "cup"}]',
        '[{"bbox_2d": "1234", "label": "cup"}]',
        '[{"bbox_2d": [1, 2, 3, NaN], "label": "cup"}]',
        '[{"bbox_2d": [1, 2, 3, 1' + "0" * 400 + '], "label": "cup"}]',
        '[{"bbox_2d": [1, 2, 3, {}], "score": null}]',
        '{"key": "other", "said": []}',
    ],
)
def test_what_cannot_be_read_is_nothing_found(text):
    got = understand(text, _example(CUP), 0)
    assert (len(got.boxes), got.said[0].labels, got.error) == (0, (), None)


def test_an_empty_answer_is_a_failed_prediction():
    assert understand(" ", _example(CUP, CUP), 1).error == fo1_answers.NO_ANSWER


def test_counts_and_texts_of_other_models_are_read():
    count = Request(task=Task.COUNT, queries=("cup",))
    assert understand("There are 3.", _example(count), 0).said[0].count == 3
    boxes = [[0, 0, 9, 9], [5, 5, 20, 20]]
    both = Request(task=Task.DESCRIBE, regions=(1, 0))
    got = understand("a cup\na cat\nmore", _example(both, boxes=boxes), 0)
    assert got.said[0].texts == {1: "a cup", 0: "a cat"}
    assert got.boxes.tolist() == boxes
    one = Request(task=Task.READ, regions=(1,))
    assert understand("two\nlines", _example(one, boxes=boxes), 0).said[0].texts == {
        1: "two\nlines"
    }


def test_prompts_for_other_models_name_boxes_by_coordinates():
    boxes = np.array([[0, 0, 9, 9], [5, 5, 20.4, 20]], np.float32)
    ask = Request(task=Task.ASK, queries=("is <region1> red, and <region5>?",))
    assert prompt(ask, SIZE, boxes) == "is [5, 5, 20, 20] red, and region 5?"
    detect = prompt(CUP, SIZE, None)
    assert "cup, cat" in detect
    assert "200 wide and 100 high" in detect
    read = Request(task=Task.READ, regions=(1,))
    assert prompt(read, SIZE, boxes).endswith("[5, 5, 20, 20]")


def test_answers_about_the_same_boxes_share_them_and_others_are_added():
    example = _example(CUP, CUP, CUP)
    same = [[0, 0, 1, 1], [2, 2, 3, 3]]
    parts = {
        0: Prediction.made(example, same, Said.found([("cup", 1)])),
        1: Prediction.made(example, same, Said.found([("cat", 0)])),
        2: Prediction.made(example, [[5, 5, 6, 6]], Said.found([("cup", 0)])),
    }
    joined = join(example, parts)
    assert [said.regions.tolist() for said in joined.said] == [[1], [0], [2]]
    assert joined.boxes.tolist() == [*same, [5, 5, 6, 6]]
    del parts[0]
    assert [said.labels for said in join(example, parts).said] == [(), ("cat",), ("cup",)]
    assert join(example, {}).error == fo1_answers.NO_ANSWER


def _parts(task: Boxes, answers: dict[tuple[int, int], str]) -> list[Part]:
    return [
        Part(example, request, understand(text, task.examples[example], request))
        for (example, request), text in answers.items()
    ]


def _perfect(task: Boxes) -> dict[tuple[int, int], str]:
    box = '[{"bbox_2d": %s, "label": "x"}]'
    return {
        (number, request): box % json.dumps(example.truth[0].tolist())
        for number, example in enumerate(task.examples)
        for request in range(len(example.requests))
    }


def test_perfect_answers_are_100_and_their_order_is_nothing(data: Path):
    task = Boxes.load(data)
    parts = _parts(task, _perfect(task))
    assert figures(task, parts)["IoU"] == pytest.approx(100)
    wrong = _perfect(task) | {(1, 1): '[{"bbox_2d": [0, 0, 1, 1], "label": "x"}]'}
    parts = _parts(task, wrong)
    assert figures(task, parts)["IoU"] == pytest.approx(75)
    assert figures(task, parts[::-1] + parts[:2]) == figures(task, parts)
    assert figures(task, parts[:1])["IoU"] == pytest.approx(100)  # examples not asked stay out
    assert figures(task, []) == {}


# lmms-eval itself


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("lmms_eval", reason="lmms_eval is not installed")
    fo1_model = pytest.importorskip("fo1_model")

    def made(model: FO1, **options: Any):
        monkeypatch.setattr(FO1, "from_pretrained", lambda *a, **k: model)
        return fo1_model.FO1Model("tiny", **options)

    return made


def _instance(number: int, messages: Any) -> SimpleNamespace:
    def to_messages(doc: Any) -> Any:
        if isinstance(messages, Exception):
            raise messages
        return messages

    return SimpleNamespace(args=("", to_messages, {}, number, "task", "test"))


def _chat(*parts: Any) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "url": part}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def _ask(adapter: Any, *messages: Any) -> list[str]:
    adapter.task_dict = {"task": {"test": range(len(messages))}}
    return adapter.generate_until([_instance(n, each) for n, each in enumerate(messages)])


def test_the_registry_finds_the_model(adapter):
    import fo1_model
    from lmms_eval.models.registry_v2 import ModelRegistryV2

    registry = ModelRegistryV2()
    registry.register_manifest(fo1_model.manifest())
    assert registry.get_model_class("fo1") is fo1_model.FO1Model


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_prompts_are_answered_in_their_order_and_bad_ones_with_nothing(adapter, model, batch_size):
    views = [picture(80, 60, seed) for seed in range(3)]
    told = _ask(
        adapter(model, batch_size=batch_size),
        _chat(views[0], REC),
        ValueError("the document is damaged"),
        _chat(views[1], ODINW),
        _chat(Path("/nowhere/at all.png"), ODINW),
        [{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}],
        _chat(views[2], REC),
    )
    scene = model.encode(views[0])
    best = scene.refer("man in blue", threshold=0.0)
    assert json.loads(told[0]) == scaled(best.boxes[0].round(2).tolist(), (60, 80), "unit")
    assert json.loads(told[5]) != json.loads(told[0])
    assert isinstance(json.loads(told[2]), list)
    assert told[1] == told[3] == told[4] == ""


def test_several_pictures_are_a_chat(adapter, writer):
    views = [picture(80, 60, seed) for seed in range(2)]
    scenes = [writer.encode(view) for view in views]
    said = writer.chat(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": scenes[0]},
                    {"type": "image", "image": scenes[1]},
                    {"type": "text", "text": "Which one?"},
                ],
            }
        ]
    )
    (told,) = _ask(adapter(writer), _chat(*views, "Which one?"))
    assert told == with_boxes(said.answer.text, None)


@pytest.mark.parametrize("scored", [True, False])
def test_both_harnesses_give_one_number(adapter, request, data, monkeypatch, scored):
    monkeypatch.setitem(sys.modules, "fo1.evaluation.tasks.boxes_of_test", sys.modules[__name__])
    monkeypatch.setattr("fo1.evaluation.tasks.TASKS", {**TASKS, "boxes": "boxes_of_test:Boxes"})
    model = request.getfixturevalue("model" if scored else "writer")
    (data / "2.png").unlink()
    ours = evaluate(model, Boxes.load(data), resamples=1).figures["IoU"].value
    theirs = _simple_evaluate(adapter(model, batch_size=2), data, monkeypatch)
    assert theirs == pytest.approx(ours, abs=1e-12)


def test_another_chat_model_is_measured_too(adapter, data, monkeypatch):
    from lmms_eval.api.model import lmms
    from lmms_eval.protocol import ChatMessages

    monkeypatch.setitem(sys.modules, "fo1.evaluation.tasks.boxes_of_test", sys.modules[__name__])
    monkeypatch.setattr("fo1.evaluation.tasks.TASKS", {**TASKS, "boxes": "boxes_of_test:Boxes"})
    answers = iter(_perfect(Boxes.load(data)).values())

    class Knowing(lmms):
        is_simple = False

        def generate_until(self, requests):
            for one in requests:
                _, to_messages, _, number, task, split = one.args
                chat = ChatMessages(messages=to_messages(self.task_dict[task][split][number]))
                images, _, _ = chat.extract_media()
                assert isinstance(images[0], Image.Image)
                assert "200 wide and 100 high" in chat.messages[0].content[1].text
            return [next(answers) for _ in requests]

        def loglikelihood(self, requests):
            raise NotImplementedError

        generate_until_multi_round = loglikelihood

    assert _simple_evaluate(Knowing(), data, monkeypatch) == pytest.approx(100)


def _simple_evaluate(model: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the figure that lmms-eval gives for the task of the test, by a task file."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    folder = data / "files"
    folder.mkdir()
    (folder / "boxes.yaml").write_text(
        f"include: {HOME / 'tasks/_benchmark'}\ntask: boxes\ndataset_name: boxes\n"
        "dataset_path: .\nmetric_list:\n  - metric: IoU\n"
    )
    monkeypatch.setenv("FO1_DATA", str(data))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = simple_evaluate(model, tasks=["boxes"], task_manager=manager, bootstrap_iters=0)
    json.dumps(results["samples"], default=str)
    return results["results"]["boxes"]["IoU,none"]
