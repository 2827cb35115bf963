"""The server by its public door: what comes back is what Python gives, and every complaint is one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from PIL import Image
from starlette.testclient import TestClient

from fo1.pipeline import FO1
from tests import tiny
from tests.serving.conftest import BOXES, data_url, file_of
from tests.test_cli import KEYS

VERBS = {
    "detect": {"queries": ["cat", "coffee cup"], "threshold": 0.0},
    "refer": {"queries": ["the cat"], "threshold": 0.0},
    "count": {"queries": ["cat"], "threshold": 0.0},
    "describe": {"regions": [1, 0]},
    "read": {"regions": [1]},
    "ground": {},
    "similar": {"region": 1},
    "ask": {"question": "what is <region1>?"},
}


def refused(response: Any, status: int, code: str) -> str:
    """Check a refusal and return what it says."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    assert "Traceback" not in response.text
    return error["message"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_row_of_each_verb(client: TestClient, image: str, loaded: FO1, verb: str) -> None:
    done = client.post(f"/v1/{verb}", json={"image": image, "boxes": BOXES, **VERBS[verb]})
    assert done.status_code == 200, done.text
    row = done.json()
    assert set(row) == KEYS
    assert (row["width"], row["height"], row["task"], row["proposer"]) == (140, 112, verb, "given")
    assert row["model"] == Path(loaded.name).name
    assert row["regions"] == BOXES
    assert row["image"].startswith("sha256:")
    assert set(row["seconds"]) == {"queue", "load", "encode", "propose", "answer"}
    assert isinstance(row["count"], int) == (verb == "count")


def test_answers_are_those_of_the_pipeline(client: TestClient, image: str, picture, loaded) -> None:
    scene = loaded.encode(picture, BOXES)
    sent = {"image": image, "boxes": BOXES}
    found = client.post("/v1/detect", json={**sent, **VERBS["detect"]}).json()
    assert found["detections"] == scene.detect(["cat", "coffee cup"], 0.0).to_dicts()
    said = client.post("/v1/describe", json={**sent, "regions": [1, 0]}).json()
    assert [(t["region"], t["text"]) for t in said["texts"]] == [
        (text.region, text.text) for text in scene.describe([1, 0])
    ]
    counted = client.post("/v1/count", json={**sent, **VERBS["count"]}).json()
    assert counted["count"] == scene.count("cat", 0.0).count
    proposed = client.post("/v1/detect", json={"image": image, **VERBS["detect"]}).json()
    assert proposed["proposer"] == "grid"
    own = loaded.encode(picture).detect(["cat", "coffee cup"], 0.0)
    assert proposed["detections"] == own.to_dicts()


def test_base64_alone_is_a_picture_as_well(client: TestClient, image: str) -> None:
    first = client.post("/v1/ground", json={"image": image, "boxes": BOXES}).json()
    second = client.post(
        "/v1/ground", json={"image": image.partition(",")[2], "boxes": BOXES}
    ).json()
    assert first["image"] == second["image"]


def test_a_known_picture_is_not_encoded_again(client: TestClient, image: str) -> None:
    body = {"image": image, "boxes": BOXES, **VERBS["detect"]}
    first = client.post("/v1/detect", json=body).json()
    again = client.post("/v1/detect", json=body).json()
    moved = client.post("/v1/detect", json={**body, "boxes": BOXES[::-1]}).json()
    assert first["seconds"]["encode"] > 0 == again["seconds"]["encode"]
    assert moved["seconds"]["encode"] < first["seconds"]["encode"]
    assert again["detections"] == first["detections"]
    assert moved["regions"] == BOXES[::-1]
    text = client.get("/metrics").text
    assert "fo1_scene_hits_total 1\n" in text
    assert "fo1_scene_misses_total 2\n" in text


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("detect", {"queries": []}, "invalid_body"),
    ("detect", {"queries": ["  "]}, "invalid_query"),
    ("detect", {"queries": ["x" * 1_001]}, "invalid_query"),
    ("detect", {"queries": "cat"}, "invalid_body"),
    ("detect", {}, "invalid_body"),
    ("detect", {"queries": ["cat"], "threshold": 1.5}, "invalid_body"),
    ("detect", {"queries": ["cat"], "thresh": 0.5}, "invalid_body"),
    ("detect", {"queries": [f"cat {n}" for n in range(101)]}, "invalid_query"),
    ("detect", {"queries": ["cat"], "boxes": [[0, 0, 1]]}, "invalid_body"),
    ("detect", {"queries": ["cat"], "boxes": [[50, 50, 10, 10]]}, "invalid_boxes"),
    ("detect", {"queries": ["cat"], "boxes": [[900, 900, 950, 950]]}, "invalid_boxes"),
    ("detect", {"queries": ["cat"], "boxes": [[0, 0, 9, 9]] * 1_001}, "invalid_boxes"),
    ("detect", {"queries": ["cat"], "proposer": "grid"}, "invalid_boxes"),
    ("detect", {"queries": ["cat"], "boxes": None, "proposer": "oracle"}, "invalid_body"),
    # No client makes the server read a folder or fetch a model.
    ("detect", {"queries": ["cat"], "boxes": None, "proposer": "owner/model"}, "invalid_body"),
    ("detect", {"queries": ["cat"], "boxes": None, "proposer": "/"}, "invalid_body"),
    ("describe", {"regions": [7]}, "invalid_query"),
    ("describe", {"regions": [-1]}, "invalid_body"),
    ("describe", {"regions": [1.5]}, "invalid_body"),
    ("describe", {"detail": "epic"}, "invalid_body"),
    ("similar", {"region": 2}, "invalid_query"),
    ("ask", {"question": "what is <region9>?"}, "invalid_query"),
    ("ask", {"question": "?" * 10_001}, "invalid_query"),
    ("ground", {"image": "data:image/png;base64,AAAA"}, "invalid_image"),
    ("ground", {"image": 7}, "invalid_body"),
]


@pytest.mark.parametrize(
    ("verb", "sent", "code"), BAD, ids=[f"{b[0]}-{i}" for i, b in enumerate(BAD)]
)
def test_bad_requests_are_told(
    client: TestClient, image: str, verb: str, sent: Any, code: str
) -> None:
    message = refused(
        client.post(f"/v1/{verb}", json={"image": image, "boxes": BOXES, **sent}), 400, code
    )
    assert len(message) < 600


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"image": 1e999999}']
)
def test_bodies_that_are_no_object(client: TestClient, body: bytes) -> None:
    sent = client.post("/v1/ground", content=body, headers={"content-type": "application/json"})
    refused(sent, 400, "invalid_body")


@pytest.mark.parametrize(
    "many",
    [
        {"boxes": [0] * 300_000},
        {"boxes": [[0] * 300_000]},
        {"regions": ["x"] * 300_000},
        {f"field {n}": 0 for n in range(200_000)},
    ],
    ids=["boxes", "sides", "regions", "fields"],
)
def test_many_problems_are_told_as_one(client: TestClient, image: str, many: Any) -> None:
    seen: list[int] = []
    plain = RequestValidationError.__init__

    def spy(self: Any, errors: Any, **more: Any) -> None:
        seen.append(len(errors))
        plain(self, errors, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RequestValidationError, "__init__", spy)
        refused(client.post("/v1/describe", json={"image": image, **many}), 400, "invalid_body")
    assert seen
    assert max(seen) <= 2


def test_paths_methods_and_kinds(client: TestClient) -> None:
    refused(client.get("/nowhere"), 404, "not_found")
    refused(client.get("/v1/detect"), 405, "not_allowed")
    refused(client.post("/v1/ground", content=b"x"), 400, "invalid_body")


def test_a_failure_inside_tells_nothing(served, image: str, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /home/me")

    monkeypatch.setattr("fo1.serving.worker.load_image", broken)
    sent = served().post("/v1/ground", json={"image": image})
    message = refused(sent, 500, "internal")
    assert "secret" not in message
    assert "secret" in caplog.text


def test_keys(served: Callable[..., TestClient]) -> None:
    client = served(keys=("first", "second"))
    assert client.get("/health").status_code == 200
    for header in (None, "first", "Basic first", "Bearer third", "Bearer "):
        headers = {} if header is None else {"authorization": header}
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            refused(client.get(path, headers=headers), 401, "invalid_api_key")
        refused(client.post("/v1/ground", json={}, headers=headers), 401, "invalid_api_key")
    for key in ("first", "second"):
        good = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
        assert good.status_code == 200


def test_state(client: TestClient, image: str, loaded: FO1) -> None:
    name = Path(loaded.name).name
    assert client.get("/health").json() == {"status": "ok", "model": name}
    assert client.get("/v1/models").json()["data"][0]["id"] == name
    client.post("/v1/ground", json={"image": image, "boxes": BOXES})
    client.post("/v1/ground", json={"image": "?"})
    client.get("/nowhere")
    lines = client.get("/metrics").text.splitlines()
    assert 'fo1_requests_total{route="/v1/ground",status="200"} 1' in lines
    assert 'fo1_requests_total{route="/v1/ground",status="400"} 1' in lines
    assert 'fo1_requests_total{route="other",status="404"} 1' in lines
    assert 'fo1_request_seconds_count{route="/v1/ground"} 2' in lines
    assert "fo1_inside 0" in lines
    assert "fo1_batch_jobs_count 1" in lines


# Chats.


def chat(client: TestClient, content: Any, **more: Any) -> Any:
    name = client.get("/health").json()["model"]
    messages = [{"role": "user", "content": content}]
    return client.post("/v1/chat/completions", json={"model": name, "messages": messages, **more})


def shown(image: str, boxes: Any = BOXES) -> list[dict[str, Any]]:
    part = {"type": "image_url", "image_url": {"url": image}}
    return [part] if boxes is None else [part, {"type": "boxes", "boxes": boxes}]


def test_a_chat_is_that_of_the_pipeline(client: TestClient, image: str, picture, loaded) -> None:
    text = "is <region0> like <region1>?"
    done = chat(client, [*shown(image), {"type": "text", "text": text}]).json()
    said = loaded.chat(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": picture, "boxes": BOXES},
                    {"type": "text", "text": text},
                ],
            }
        ]
    )
    (choice,) = done["choices"]
    assert choice["message"]["content"] == said.answer.text
    assert choice["finish_reason"] == ("stop" if said.complete else "length")
    assert done["object"] == "chat.completion"
    assert done["usage"]["prompt_tokens"] == said.prompt_tokens > 50
    assert done["usage"]["completion_tokens"] == said.new_tokens > 0
    (one,) = done["fo1"]["pictures"]
    assert one["regions"] == BOXES
    assert one["detections"] == said.detections[0].to_dicts()


def test_a_limit_on_tokens_cuts(client: TestClient, image: str) -> None:
    content = [*shown(image), {"type": "text", "text": "what is it?"}]
    whole = chat(client, content).json()
    cut = chat(client, content, max_tokens=1, max_completion_tokens=3).json()
    assert cut["usage"]["completion_tokens"] == 1 < whole["usage"]["completion_tokens"]
    assert cut["choices"][0]["finish_reason"] == "length"
    assert whole["choices"][0]["message"]["content"].startswith(
        cut["choices"][0]["message"]["content"]
    )


def test_several_pictures_and_turns(client: TestClient, image: str) -> None:
    other = data_url(file_of(tiny.picture(84, 96, seed=1)))
    name = client.get("/health").json()["model"]
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [
                *shown(image),
                *shown(other, None),
                *shown(other, [[0, 0, 20, 20]]),
                {"type": "text", "text": "is <region2> in <region0>?"},
            ],
        },
    ]
    first = client.post("/v1/chat/completions", json={"model": name, "messages": messages}).json()
    assert [len(one["regions"]) for one in first["fo1"]["pictures"]] == [2, 0, 1]
    # As OpenAI's client writes messages that it got: with null for what is not there.
    said = {**first["choices"][0]["message"], "tool_calls": None, "audio": None}
    messages += [said, {"role": "user", "content": "why?"}]
    second = client.post("/v1/chat/completions", json={"model": name, "messages": messages})
    assert second.status_code == 200, second.text


def test_proposed_regions_in_a_chat(client: TestClient, image: str) -> None:
    content = [*shown(image, None), {"type": "boxes", "proposer": "grid"}]
    done = chat(client, [*content, {"type": "text", "text": "what?"}]).json()
    (one,) = done["fo1"]["pictures"]
    assert one["proposer"] == "grid"
    assert len(one["regions"]) > 2


def test_a_stream_is_the_whole_in_pieces(client: TestClient, image: str) -> None:
    content = [*shown(image), {"type": "text", "text": "what is <region0>?"}]
    whole = chat(client, content).json()
    done = chat(client, content, stream=True, stream_options={"include_usage": True})
    assert done.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in done.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-2]["fo1"]["pictures"] == whole["fo1"]["pictures"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])


def test_bad_chats_are_told(client: TestClient, image: str) -> None:
    ask = {"type": "text", "text": "what?"}
    name = client.get("/health").json()["model"]
    refused(
        client.post(
            "/v1/chat/completions",
            json={"model": "gpt", "messages": [{"role": "user", "content": "x"}]},
        ),
        404,
        "model_not_found",
    )
    refused(chat(client, ""), 400, "invalid_query")
    refused(
        chat(client, [*shown(image), {"type": "text", "text": "<region5>?"}]), 400, "invalid_query"
    )
    refused(chat(client, "x" * 20_001), 400, "invalid_query")
    refused(chat(client, [*shown(image, None) * 9, ask]), 400, "invalid_image")
    refused(chat(client, [{"type": "boxes", "boxes": BOXES}, ask]), 400, "invalid_boxes")
    refused(chat(client, [*shown(image), *shown(image)[1:], ask]), 400, "invalid_boxes")
    refused(chat(client, [*shown(image, [[0, 0, 9, 9]] * 1_001), ask]), 400, "invalid_boxes")
    hidden = {"type": "image_url", "image_url": {"url": image, "boxes": BOXES}}
    told = refused(chat(client, [hidden, ask]), 400, "invalid_body")
    assert "boxes" in told
    for more in ({"tools": []}, {"n": 2}, {"stop": "x"}, {"max_tokens": 0}, {"temperature": 9}):
        refused(chat(client, [*shown(image), ask], **more), 400, "invalid_body")
    last = [{"role": "assistant", "content": "hello"}]
    refused(
        client.post("/v1/chat/completions", json={"model": name, "messages": last}), 400, "invalid"
    )


def test_what_steers_sampling_is_taken_and_changes_nothing(client: TestClient, image: str) -> None:
    content = [*shown(image), {"type": "text", "text": "what?"}]
    plain = chat(client, content).json()["choices"]
    steered = chat(client, content, temperature=1.5, top_p=0.2, seed=3, user="me", stop=None)
    assert steered.json()["choices"] == plain


def test_limits_of_bytes_and_pixels(served, image: str, picture: Image.Image) -> None:
    small = served(bytes=600, pixels=10_000)
    big = data_url(file_of(Image.new("RGB", (101, 100))))
    assert "10000 pixels" in refused(
        small.post("/v1/ground", json={"image": big}), 400, "invalid_image"
    )
    assert len(image) > 600
    refused(small.post("/v1/ground", json={"image": image}), 413, "too_large")

    def pieces():
        yield b'{"image": "'
        yield b"A" * 3_000

    refused(small.post("/v1/ground", content=pieces()), 413, "too_large")
