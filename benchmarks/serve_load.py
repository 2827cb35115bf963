"""Load on `fo1 serve`: clients with mixed verbs, a tenth malformed or leaving; then SIGTERM with requests in flight.

    python benchmarks/serve_load.py --clients 64 --seconds 120

Every answer is compared with what the model says in this process (scores to 0.02, for batches round differently),
and the server's memory, open files and threads are watched. Half of the pictures are new to the server: a few bytes
behind the file's end give it another digest. Exit status 1 if an answer was wrong or missing.
"""

import argparse
import asyncio
import base64
import collections
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from fo1 import FO1

ROOT = Path(__file__).parents[1]
SIZES = [(640, 427), (427, 640), (800, 534), (320, 320), (500, 300)]
NAMES = ["cup", "dog", "person", "car", "bottle", "book", "chair"]
BAD = [
    {"image": "/etc/passwd"},
    {"image": "data:image/png;base64,iVBORw0KGgo="},
    {"image": "http://127.0.0.1/"},
    {"queries": []},
    {"boxes": [[9, 9, 1, 1]]},
    {"nonsense": 1},
]


def files(photo: Path) -> list[bytes]:
    """Return a photo in mixed sizes, as JPEG files."""
    made: list[bytes] = []
    for size in SIZES:
        out = io.BytesIO()
        Image.open(photo).convert("RGB").resize(size).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def questions(model: FO1, photos: list[bytes]) -> list[dict[str, Any]]:
    """Return what is asked, each with what it should bring."""
    asked: list[dict[str, Any]] = []
    for photo in photos:
        image = base64.b64encode(photo).decode()
        scene = model.encode(photo)
        boxes = [[float(side) for side in box] for box in scene.regions[:12]]
        given = model.encode(scene, boxes)
        sent = {"image": image, "boxes": boxes}
        found = model.detect(scene, NAMES, 0.1)
        body = {"image": image, "queries": NAMES, "threshold": 0.1}
        asked.append({"path": "detect", "body": body, "scores": _scores(found.to_dicts())})
        found = given.detect(NAMES, 0.1)
        body = {**sent, "queries": NAMES, "threshold": 0.1}
        asked.append({"path": "detect", "body": body, "scores": _scores(found.to_dicts())})
        found = given.refer("cup", 0.1)
        body = {**sent, "queries": ["cup"], "threshold": 0.1}
        asked.append({"path": "refer", "body": body, "scores": _scores(found.to_dicts())})
        asked.append(
            {
                "path": "count",
                "body": {**sent, "queries": ["cup"]},
                "count": given.count("cup").count,
            }
        )
        texts = {text.region: text.text for text in given.describe([0, 1, 2])}
        asked.append({"path": "describe", "body": {**sent, "regions": [0, 1, 2]}, "texts": texts})
        asked.append({"path": "ground", "body": sent, "scores": _scores(_ground(given))})
        said = given.ask("what is <region0>?").text
        body = {**sent, "question": "what is <region0>?"}
        asked.append({"path": "ask", "body": body, "free": said, "weight": 0.3})
        said = model.chat(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": given},
                        {"type": "text", "text": "What is <region1>?"},
                    ],
                }
            ]
        )
        parts = [
            {"type": "image_url", "image_url": {"url": f"data:;base64,{image}"}},
            {"type": "boxes", "boxes": boxes},
            {"type": "text", "text": "What is <region1>?"},
        ]
        body = {"model": "nano", "messages": [{"role": "user", "content": parts}]}
        asked.append(
            {"path": "chat/completions", "body": body, "chat": said.answer.text, "weight": 0.3}
        )
        for one in asked:
            one.setdefault("photo", photo)
    return asked


def body_of(one: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return what is sent; every second time its picture is one that the server has not seen."""
    if "image" not in one["body"] or chance.random() < 0.5:
        return one["body"]
    new = base64.b64encode(one["photo"] + chance.randbytes(8)).decode()
    return {**one["body"], "image": new}


def _ground(scene: Any) -> Any:
    from fo1.pipeline import Request
    from fo1.prompts import Task

    return scene.answer(Request(task=Task.GROUND)).detections.to_dicts()


def _scores(rows: Any) -> dict[tuple[str, int], float]:
    return {(row["label"], row["region"]): row["score"] for row in rows}


def wrong(asked: dict[str, Any], got: dict[str, Any]) -> str | None:
    """Return what is wrong with an answer, None if nothing is."""
    if "scores" in asked:
        want, have = asked["scores"], _scores(got["detections"])
        for key in want.keys() | have.keys():
            # At the threshold rounding decides; a box that is clearly above it must be there.
            if abs(want.get(key, 0.1) - have.get(key, 0.1)) > 0.02:
                return f"{key}: {want.get(key)} against {have.get(key)}"
    for name, have in (
        ("count", got.get("count")),
        ("texts", {t["region"]: t["text"] for t in got.get("texts", ())}),
        ("chat", got["choices"][0]["message"]["content"] if "choices" in got else None),
    ):
        if name in asked and asked[name] != have:
            return f"{name}: {asked[name]!r} against {have!r}"
    return None


class Load:
    """Clients that ask until the end, and what they saw."""

    def __init__(self, url: str, asked: list[dict[str, Any]]) -> None:
        self.url = url
        self.asked = asked
        self.weights = [one.get("weight", 1.0) for one in asked]
        self.seconds: dict[str, list[float]] = collections.defaultdict(list)
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.broken: list[str] = []
        self.texts_apart = 0
        self.passed = 0.0

    async def client(self, number: int, end: float) -> None:
        """Ask one after another."""
        chance = random.Random(number)
        async with httpx.AsyncClient(base_url=self.url, timeout=3600) as http:
            while time.monotonic() < end:
                one = chance.choices(self.asked, self.weights)[0]
                if chance.random() < 0.1:
                    await self.misbehave(http, one, chance)
                else:
                    await self.ask(http, one, body_of(one, chance))

    async def misbehave(self, http: httpx.AsyncClient, one: Any, chance: random.Random) -> None:
        """Send something malformed, or leave before the answer."""
        if chance.random() < 0.5:
            sent = {**one["body"], **chance.choice(BAD)}
            try:
                got = await http.post(f"/v1/{one['path']}", json=sent)
            except httpx.HTTPError as error:
                self.broken.append(repr(error))
                return
            self.statuses[f"malformed {got.status_code}"] += 1
            good = got.status_code == 429 or (400 <= got.status_code < 500)
            if not good and "chat" not in one["path"]:
                self.wrong.append(f"malformed got {got.status_code}: {got.text[:200]}")
            return
        try:
            await http.post(
                f"/v1/{one['path']}", json=one["body"], timeout=chance.uniform(0.01, 0.5)
            )
            self.statuses["left too late"] += 1
        except httpx.TimeoutException:
            self.statuses["left"] += 1

    async def ask(self, http: httpx.AsyncClient, one: Any, body: Any) -> None:
        """Ask, and look at the answer."""
        begun = time.monotonic()
        try:
            got = await http.post(f"/v1/{one['path']}", json=body)
        except httpx.HTTPError as error:
            self.broken.append(repr(error))
            return
        self.statuses[str(got.status_code)] += 1
        if got.status_code == 200:
            self.seconds[one["path"]].append(time.monotonic() - begun)
            told = wrong(one, got.json())
            if told and one["path"] == "chat/completions":
                self.texts_apart += 1  # greedy texts may part where two tokens are as good
            elif told:
                self.wrong.append(f"{one['path']} {told}")
        elif got.status_code == 504:
            pass  # counted; on busy cores it is what there is to say
        elif got.status_code in (429, 503):
            await asyncio.sleep(float(got.headers["retry-after"]) * random.uniform(0.5, 1.5))
        else:
            self.wrong.append(f"{one['path']} got {got.status_code}: {got.text[:200]}")


def state(pid: int) -> tuple[float, int, int]:
    """Return MiB in memory, open files and threads of a process (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    threads = int(re.search(r"Threads:\s+(\d+)", status)[1])  # type: ignore[index]
    return memory, len(os.listdir(f"/proc/{pid}/fd")), threads


async def watch(pid: int, seen: list[tuple[float, int, int]], end: float) -> None:
    """Look at a process every second."""
    while time.monotonic() < end:
        seen.append(state(pid))
        await asyncio.sleep(1)


async def drain(url: str, pid: int, asked: list[dict[str, Any]]) -> list[int]:
    """Return the statuses of requests that were in flight at SIGTERM."""
    async with httpx.AsyncClient(base_url=url, timeout=3600) as http:
        many = [one for one in asked if one["path"] == "detect"]
        sent = [
            asyncio.ensure_future(http.post("/v1/detect", json=many[n % len(many)]["body"]))
            for n in range(24)
        ]
        for _ in range(600):
            inside = re.search(r"^fo1_inside (\d+)", (await http.get("/metrics")).text, re.M)
            if inside and int(inside[1]) + sum(one.done() for one in sent) >= len(sent):
                break
            await asyncio.sleep(0.02)
        os.kill(pid, signal.SIGTERM)
        done = await asyncio.gather(*sent, return_exceptions=True)
    return [one.status_code if isinstance(one, httpx.Response) else 0 for one in done]


def main() -> int:
    """Start a server, load it, end it, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples/photos/coffee.jpg")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--limit", action="append", default=["waiting=48"])
    options = parser.parse_args()
    asked = questions(FO1.from_pretrained(), files(options.photo))
    words = [word for limit in options.limit for word in ("--limit", limit)]
    command = [sys.executable, "-m", "fo1", "serve", "--port", str(options.port), *words]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{options.port}"
    for line in server.stderr or ():
        print(line, end="")
        if "serving" in line:
            break
    load, seen = Load(url, asked), [state(server.pid)]

    async def run() -> list[int]:
        end = time.monotonic() + options.seconds
        clients = [load.client(number, end) for number in range(options.clients)]
        await asyncio.gather(watch(server.pid, seen, end), *clients)
        load.passed = time.monotonic() - begun
        print(
            urllib.request.urlopen(f"{url}/metrics")
            .read()
            .decode()
            .split("# HELP fo1_batch_jobs")[1]
        )
        return await drain(url, server.pid, asked)

    begun = time.monotonic()
    try:
        drained = asyncio.run(run())
    except BaseException:
        server.kill()
        raise
    answered = time.monotonic()
    status = server.wait(600)  # what clients that left had begun is ended first
    ended = time.monotonic() - answered
    times = np.array([t for own in load.seconds.values() for t in own])
    if not len(times):
        print(
            f"nothing was answered: {dict(load.statuses)}; free the cores, or give more --seconds"
        )
        return 1
    half = seen[len(seen) // 2 :]
    report = {
        "answers": len(times),
        "answers_per_second": round(len(times) / load.passed, 2),
        "p50": round(float(np.percentile(times, 50)), 3),
        "p99": round(float(np.percentile(times, 99)), 3),
        "by_verb": {
            path: [len(t), *(round(float(np.percentile(t, q)), 3) for q in (50, 99))]
            for path, t in sorted(load.seconds.items())
        },
        "statuses": dict(sorted(load.statuses.items())),
        "wrong": load.wrong[:10],
        "num_wrong": len(load.wrong),
        "chats_worded_otherwise": load.texts_apart,
        "broken": load.broken[:5],
        "memory_mib": {
            "by_tenth": [round(seen[len(seen) * part // 10][0]) for part in range(10)],
            "end": round(seen[-1][0]),
            "peak": round(max(one[0] for one in seen)),
        },
        "files": [seen[0][1], half[0][1], max(one[1] for one in seen)],
        "threads": [seen[0][2], half[0][2], max(one[2] for one in seen)],
        "sigterm": dict(collections.Counter(drained)),
        "seconds_to_end": round(ended, 1),
        "exit_status": status,
    }
    print(json.dumps(report, indent=1))
    unanswered = [one for one in drained if one not in (200, 503)]
    return 1 if load.wrong or load.broken or unanswered or status else 0


if __name__ == "__main__":
    sys.exit(main())
