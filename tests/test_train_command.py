"""`fo1 train` by its public door: wrong use is told in one line, and a run ends in a model that is used at once."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fo1.cli import main
from tests import tiny


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Twelve pictures of coloured patches with two boxes each."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, 13):
        tiny.picture(96, 80, seed=number).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 80})
        for place, name in ((10, 1), (50, 2)):
            row = {"id": len(annotations) + 1, "image_id": number, "category_id": name}
            annotations.append({**row, "bbox": [place, 10, 30, 40], "area": 1200, "iscrowd": 0})
    names = [{"id": 1, "name": "zorp"}, {"id": 2, "name": "blick"}]
    table = {"images": images, "annotations": annotations, "categories": names}
    (folder / "annotations.json").write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "no data to learn from"),
        ("nanno --data .", "did you mean nano?"),
        ("--data nowhere --out x", "nowhere does not exist"),
        ("--data {coco}", "nowhere to write to"),
        ("--data {coco} --out x --set seed", "no key=value"),
        ("--data {coco} --out x --set stages.first.steps=3", "NAME one of alignment, perception"),
        ("--data {coco} --data {coco} --out x", "name them apart"),
        ("--data {coco} --out x --set stages.alignment.learns.regions=abc", "regions is 'abc'"),
        ("--data {coco} --out x --set stages.alignment.learns.regions=nan", "give a number"),
        ("--data {coco} --out x --set stages.*.losses.lm=-1", "losses.lm is -1"),
        ("--data {coco} --out x --set stages.*.mixture.zzz=1", "'zzz', which is no data set"),
        ("--data {coco} --out x --set seed=-1", "seed is -1"),
        ("--data {coco} --out x --set pack_to=1", "pack_to is 1"),
        ("--data {coco} --out x --set measure_every=-1", "measure_every is -1"),
        ("--data {coco} --out x --set sampling.jitter=9", "jitter is 9"),
        ("--data {coco} --out x --set report_to=nothere", "report_to names 'nothere'"),
        ("--data {coco} --out x --set proposer=nope", "nope"),
        ("--data {coco} --out x --set stages.*.batch=3", "make it a multiple of 12"),
    ],
)
def test_wrong_use_is_one_line(
    coco: Path, words: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words.format(coco=coco).split()]) == 2
    err = capsys.readouterr().err
    assert problem in err
    assert err.count("\n") == 1


def test_a_coco_folder_becomes_a_model(
    coco: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the tiny model: one step a stage, with proposals, held-out pictures and the final measurement."""
    out = tmp_path / "model"
    words = ["train", "--data", str(coco), "--out", str(out), "--model", str(folder), "--json"]
    for setting in ("stages.*.steps=1", "stages.*.batch=2", "micro_batch=2", "proposer=grid"):
        words += ["--set", setting]
    assert main([*words, "--set", "bf16=false", "--set", "sampling.order=raster"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"AP %", "AP with names permuted (floor) %"} <= set(told["figures"])
    assert len(json.loads((out / "held_out.json").read_text())["images"]) == 1
    assert json.loads((out / "config.json").read_text())["region_order"] == "raster"
    assert "drawn | 11" in (out / "README.md").read_text()
    assert (out / "losses.png").stat().st_size > 0
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["alignment", "perception"]
    detect = ["detect", str(coco / "1.png"), "-q", "zorp", "--model", str(out), "--json"]
    assert main([*detect, "--proposer", "grid"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "detect"
    moved = tmp_path / "elsewhere" / coco.name
    moved.parent.mkdir()
    coco.rename(moved)
    words[words.index(str(coco))] = str(moved)
    words += ["--set", "bf16=false", "--set", "sampling.order=raster"]
    assert main(words) == 0  # nothing is left to learn, but the pictures are measured again
    assert json.loads(capsys.readouterr().out)["figures"] == told["figures"]
    annotations = moved / "annotations.json"
    annotations.write_text(annotations.read_text().replace("zorp", "zarp"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(words) == 2
    assert "holds a run with another data.drawn" in capsys.readouterr().err
    assert main([*words, "--set", "seed=7"]) == 2
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("recipe", ["lora_1gpu", "qwen2_5_vl_3b_8gpu"])
def test_the_large_recipes_run_on_a_tiny_host(
    recipe: str, coco: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With their own packing, bf16 and gradient checkpointing; measured at every step."""
    out = tmp_path / "model"
    words = ["train", recipe, "--data", str(coco), "--out", str(out), "--model", str(folder)]
    settings = ("stages.*.steps=2", "stages.*.batch=4", "workers=1", "measure_every=1")
    for setting in (*settings, "measure_limit=1", "proposer=grid"):
        words += ["--set", setting]
    assert main(words) == 0
    err = capsys.readouterr().err
    assert err.count("fo1: AP ") == 4
    assert "2 of 4 steps" in err or "4 of 4 steps" in err
    rows = [json.loads(line) for line in (out / "measured.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        ("alignment", 1),
        ("alignment", 2),
        ("perception", 1),
        ("perception", 2),
    ]
    assert all(0 <= row["AP"] <= 100 for row in rows)
    names = set(json.loads((out / "log.jsonl").read_text().splitlines()[0]))
    assert {"lm", "score", "lm/detect"} <= names
    detect = ["detect", str(coco / "1.png"), "-q", "zorp", "--model", str(out), "--json"]
    assert main([*detect, "--proposer", "grid"]) == 0


def test_pictures_inside_the_data_are_learned_from_and_held_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As LabelMe keeps them, here all under one name."""
    data = tmp_path / "drawn"
    data.mkdir()
    for number in range(8):
        held = io.BytesIO()
        tiny.picture(96, 80, seed=number).save(held, format="PNG")
        shape = {"label": "zorp", "shape_type": "rectangle", "points": [[10, 10], [40, 50]]}
        values = {"shapes": [shape], "imagePath": "image.png", "imageHeight": 80, "imageWidth": 96}
        values["imageData"] = base64.b64encode(held.getvalue()).decode()
        (data / f"{number}.json").write_text(json.dumps(values))
    out = tmp_path / "model"
    words = ["train", "--data", str(data), "--out", str(out), "--model", str(folder), "--json"]
    for setting in ("stages.*.steps=1", "stages.*.batch=2", "micro_batch=2", "proposer=grid"):
        words += ["--set", setting]
    assert main([*words, "--set", "bf16=false"]) == 0
    assert "AP %" in json.loads(capsys.readouterr().out)["figures"]
    assert (out / "held_out/000001.png").exists()
    assert "drawn | 7" in (out / "README.md").read_text()


def test_stage_1_is_one_recipe_for_hosts_of_three_families(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random hosts as their makers would publish them; only the argument of --model changes."""
    settings = ("stages.*.steps=2", "stages.*.batch=2", "proposer=grid", "bf16=false")
    for family in ("qwen2_5_vl", "llava", "internvl"):
        host, out = tmp_path / family, tmp_path / f"{family}-model"
        tiny.save_host(family, host)
        words = ["train", "stage1", "--data", str(coco), "--out", str(out), "--json"]
        for setting in settings:
            words += ["--set", setting]
        assert main([*words, "--model", str(host)]) == 0
        told = capsys.readouterr()
        assert f"{family} gets region tokens" in told.err
        assert {"AP %", "AP with names permuted (floor) %"} <= set(json.loads(told.out)["figures"])
        rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [row["stage"] for row in rows] == ["alignment"] * 2
        before, start, after = (_weights(folder) for folder in (host, out / "start", out))
        for name, own in before.items():
            # Rows of the vocabulary that the host had to spare are those of new tokens.
            known = (
                len(tiny.plain_tokenizer())
                if "embed_tokens" in name or "lm_head" in name
                else len(own)
            )
            assert torch.equal(after[f"vlm.{name}"][:known], own[:known]), name
        moved = {name.split(".")[0] for name in after if not torch.equal(after[name], start[name])}
        assert {"region_encoder", "score_head"} <= moved
        assert not any(torch.equal(after[n], start[n]) for n in after if "projector.0" in n)
    detect = ["detect", str(coco / "1.png"), "-q", "zorp", "--model", str(out), "--json"]
    assert main([*detect, "--proposer", "grid"]) == 0
    capsys.readouterr()
    assert main([*words, "--model", str(host)]) == 0  # nothing is left to learn
    assert "gets region tokens" not in capsys.readouterr().err


def test_a_host_that_lacks_a_file_is_refused_before_there_is_work(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, out = tmp_path / "host", tmp_path / "new"
    tiny.save_host("llava", host)
    (host / "preprocessor_config.json").unlink()
    words = ["train", "stage1", "--data", str(coco), "--out", str(out), "--model", str(host)]
    assert main(words) == 2
    assert "host lacks preprocessor_config.json" in capsys.readouterr().err
    assert not out.exists()
    looked = ["data", "inspect", str(coco), "--out", str(out), "--model", str(host)]
    assert main(looked) == 2
    assert "host has no region tokens yet" in capsys.readouterr().err


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")
