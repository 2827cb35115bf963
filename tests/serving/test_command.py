"""`fo1 serve` and `fo1 mcp` as they are typed."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fo1.cli import main
from fo1.errors import InputError
from fo1.serving.limits import Limits
from fo1.serving.server import bind


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--limit sparrows=3", "give one of: bytes, pixels"),
        ("--limit seconds", "give for example seconds=30"),
        ("--limit seconds=soon", "give for example seconds=30"),
        ("--limit seconds=0", "give 1 or more"),
        ("--port 70000", "from 0 to 65535"),
        ("--api-key-file nowhere.txt", "give a file, one key a line"),
        ("--api-key-file empty.txt", "write one a line"),
        ("--proposer oracle", "choose one of"),
        ("--host no.such.host.invalid", "give another --host or --port"),
        ("photo.jpg", "does not know"),
    ],
)
def test_wrong_use_is_told_in_a_line(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    assert main(["serve", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "give another --host or --port" in capsys.readouterr().err
    taken.close()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("fo1.cli.serve.find_spec", lambda _: None)
    assert main(["serve"]) == 2
    assert "pip install 'fo1[serve]'" in capsys.readouterr().err


def test_what_is_typed_reaches_the_server(
    loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("one\n\n two \n")
    seen: list[Any] = []
    monkeypatch.setattr("fo1.pipeline.FO1.from_pretrained", lambda *_, **__: loaded)

    class Fake:
        def __init__(self, service: Any, ready: Any) -> None:
            seen.append(service)
            ready()

        def run(self, sockets: Any) -> None:
            sockets[0].close()

    monkeypatch.setattr("fo1.serving.server.Server", Fake)
    typed = f"serve --port 0 --api-key-file {keys} --remote-pictures --limit seconds=7 --limit bytes=1_000"
    assert main(typed.split()) == 0
    (service,) = seen
    assert service.keys == ("one", "two")
    assert (service.limits.seconds, service.limits.bytes) == (7, 1_000)
    assert (service.remote.seconds, service.remote.most_bytes) == (7, 1_000)
    assert "serving model0 at http://127.0.0.1:" in capsys.readouterr().err
    assert main(["serve", "--port", "0", "--host", "0.0.0.0"]) == 0
    assert "--api-key-file" in capsys.readouterr().err
    assert seen[1].remote is None


def test_limits() -> None:
    assert Limits.parse(()) == Limits()
    with pytest.raises(InputError, match="limit batch is 0"):
        Limits(batch=0)


def test_a_tool_over_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id": 1, "method": "tools/list"}\n'))
    assert main(["mcp"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["result"]["tools"]) == 3
    assert err == ""
