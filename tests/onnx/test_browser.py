"""The page in headless Chromium: a real photograph, typed names, boxes and scores as in Python."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.onnx.conftest import PHOTOS, WEB

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
NAMES = "cup; dog; cat; spoon"
WAIT = 240_000  # milliseconds; two busy cores load 48 MB and compile the graphs


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed; run: apt-get install chromium")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (WEB / "node_modules/onnxruntime-web").is_dir():
        pytest.skip("node modules are missing; run: npm install --prefix examples/web")
    pytest.importorskip("playwright.sync_api", reason="run: pip install playwright")
    return found


@pytest.fixture(scope="module")
def address(chromium: str, exported: Path) -> Iterator[str]:
    """Where the page is served by its own server, on any free port."""
    words: list[str | Path] = ["node", WEB / "serve.js", exported, "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[0]
        server.terminate()


@pytest.fixture(scope="module")
def page(chromium: str, address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 1000, "height": 720})
        opened.asked, opened.wrong = [], []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.on("requestfailed", lambda request: opened.wrong.append(request.url))
        opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
        opened.goto(address)
        opened.wait_for_selector("body[data-ready]", timeout=WAIT)
        yield opened
        browser.close()


def answer(page: Any) -> dict[str, Any]:
    """Return what the page found, once it has."""
    page.wait_for_selector("body[data-found]", timeout=WAIT)
    found = json.loads(page.get_attribute("body", "data-found"))
    page.evaluate("delete document.body.dataset.found")
    return found


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photograph(page: Any, nano: Any, name: str, tmp_path: Path) -> None:
    page.fill("#names", NAMES)
    page.set_input_files("#picture", str(PHOTOS[name]))
    found = answer(page)["detections"]
    expected = nano.detect(PHOTOS[name], NAMES.split("; "))
    assert len(expected) > 0
    assert [one["label"] for one in found] == list(expected.labels)
    np.testing.assert_allclose([one["box"] for one in found], expected.boxes, atol=1.0)
    np.testing.assert_allclose([one["score"] for one in found], expected.scores, atol=5e-3)
    assert page.locator("#found li").count() == len(found)
    page.screenshot(path=str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_another_question_costs_no_encoding(page: Any, nano: Any) -> None:
    page.set_input_files("#picture", str(PHOTOS["coffee"]))
    answer(page)
    page.fill("#names", "the coffee mug; zebra")
    page.click("#find")
    found = answer(page)
    assert found["milliseconds"]["encode"] == 0
    expected = nano.detect(PHOTOS["coffee"], ["the coffee mug", "zebra"])
    assert [one["label"] for one in found["detections"]] == list(expected.labels)


def test_what_is_wrong_is_one_line(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#picture", str(PHOTOS["coffee"]))
    answer(page)
    page.fill("#names", " ; ")
    page.click("#find")
    page.wait_for_selector("#status.wrong")
    assert "type what to look for" in page.text_content("#status")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    page.set_input_files("#picture", str(broken))
    page.wait_for_function("document.querySelector('#status').textContent.includes('broken.jpg')")
    assert "\n" not in page.text_content("#status")


def test_nothing_left_this_machine(page: Any, address: str) -> None:
    assert len(page.asked) > 8
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked)
    assert page.wrong == []
    assert page.evaluate("crossOriginIsolated"), "onnxruntime would be left with one thread"
