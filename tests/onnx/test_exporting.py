"""`fo1 convert --to onnx`: what cannot be exported gets one line and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fo1
from fo1.cli import main
from fo1.errors import CheckpointError, MissingExtraError
from fo1.results import Proposals

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    return main([str(word) for word in words]), *capsys.readouterr()


def test_a_model_without_light_encoder(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    status, out, err = run(capsys, "convert", folder, tmp_path / "out", "--to", "onnx")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "cannot be exported to ONNX: its auxiliary encoder" in err
    assert "give 'nano' or a model like it" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["convert", "nano", "taken", "--to", "onnx"], "exists and is not empty"),
        (["convert", "nano", "out", "--to", "onnx", "--dtype", "float16"], "--dtype does not go"),
        (["convert", "/nowhere", "out", "--to", "onnx"], "/nowhere"),
    ],
)
def test_wrong_use(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    complaint: str,
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert complaint in err
    assert [file.name for file in tmp_path.rglob("*")] == ["taken", "mine.txt"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fo1.onnx import exporting

    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=rf"'{package}'; run: pip install 'fo1\[onnx\]'"):
        exporting.export("nano", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_graphs_that_differ_are_not_written(
    nano: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial can fail: with other numbers it does."""
    from fo1.onnx import exporting

    class Other:
        shift = 0.0

        def __init__(self, folder: Path) -> None: ...

        def propose(self, image: Any) -> Any:
            found = nano.propose(image)
            return Proposals(found.boxes + self.shift, found.scores, found.source)

        def scores(self, image: Any, boxes: Any, queries: Any) -> Any:
            return nano.encode(image, boxes).scores(queries) + 0.01

    monkeypatch.setattr(exporting, "OnnxModel", Other)
    with pytest.raises(CheckpointError, match=r"differ from torch by 1\.0e-02"):
        exporting._tried(nano, tmp_path)
    monkeypatch.setattr(Other, "shift", 40.0)
    with pytest.raises(CheckpointError, match="the best proposal of nano is not among those"):
        exporting._tried(nano, tmp_path)


def test_a_folder_that_is_no_export(tmp_path: Path) -> None:
    from fo1.onnx import OnnxModel

    with pytest.raises(CheckpointError, match="no complete export"):
        OnnxModel(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "fo1-onnx-0"}')
    with pytest.raises(CheckpointError, match="format fo1-onnx-0, not fo1-onnx-1"):
        OnnxModel(tmp_path)


def test_running_an_export_needs_no_torch() -> None:
    code = "import sys\nfrom fo1.onnx import OnnxModel\nsys.exit('torch' in sys.modules)"
    env = {"PYTHONPATH": str(Path(fo1.__file__).parents[1]), "PATH": ""}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
