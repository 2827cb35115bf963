"""Everything that can be wrong with what is given: one line that names the cure, and a status.

What is odd but right stands in test_odd_input.py.
"""

import io
import re
import shutil
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Build = Callable[[Path, Path], None]  # of the file to be made and of a good model's folder

NEED = "give a JPEG, PNG, WebP, GIF, BMP or TIFF picture"
BOXES = "give a JSON list of boxes: [[x1, y1, x2, y2], ...]"
HAVE = "give a complete checkpoint of model_type 'fo1' or *"
DETECT = "detect a.png -q cat"


@dataclass(frozen=True)
class Bad:
    """One row of the table.

    Attributes:
        words: the command; `a.png`, `b.png` and a good `boxes.json` are there.
        told: the line that comes back, less "fo1: "; * stands for anything.
        given: files to make, with what is in them.
        status: 2 for wrong use, 1 for a picture that cannot be processed.
        stdin: what standard input holds.
        locked: a file that may not be opened.
    """

    words: str | list[str]
    told: str
    given: dict[str, str | bytes | Build] = field(default_factory=dict)
    status: int = 2
    stdin: bytes = b""
    locked: str = ""

    @property
    def image(self) -> str:
        return (self.words.split() if isinstance(self.words, str) else self.words)[1]


def picture(name: str, told: str, content: str | bytes | Build | None = None, **more: Any) -> Bad:
    """Return the row of a file that cannot be used as a picture."""
    words = ["detect", name, "-q", "cat", "--boxes", "boxes.json"]
    return Bad(words, told, {} if content is None else {name: content}, status=1, **more)


def boxes(content: str, told: str, status: int = 2) -> Bad:
    """Return the row of a file that cannot be used as boxes."""
    return Bad(f"{DETECT} --boxes bad.json", told, {"bad.json": content}, status)


def model(told: str, change: Build | None = None, name: str = "changed") -> Bad:
    """Return the row of a model's folder in which something was changed."""

    def build(path: Path, good: Path) -> None:
        shutil.copytree(good, path)
        if change is not None:
            change(path, good)

    return Bad(f"{DETECT} --model {name}", told, {name: build} if change else {})


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def folder_of(*names: str) -> Build:
    def build(path: Path, _: Path) -> None:
        path.mkdir()
        for name in names:
            (path / name).write_bytes(b"")

    return build


def cut(name: str) -> Build:
    return lambda path, _: (path / name).write_bytes((path / name).read_bytes()[:5000]) and None


def write(name: str, text: str) -> Build:
    return lambda path, _: (path / name).write_text(text) and None


JPEG = encoded(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")

TABLE = {
    # Commands and options.
    "no command": Bad(
        [], "give a command, for example: fo1 detect photo.jpg -q cat; see fo1 --help"
    ),
    "no command but an option": Bad(
        "--frob", "there is no --frob; give a command, for example: fo1 detect*; see fo1 --help"
    ),
    "mistyped command": Bad("detcet a.png", "unknown command 'detcet'; did you mean detect?"),
    "unknown command": Bad(
        "photo.jpg", "unknown command 'photo.jpg'; give one of: detect, refer, count, *"
    ),
    "unknown option": Bad(
        f"{DETECT} --frob", "fo1 detect does not know '--frob'; see fo1 detect --help"
    ),
    "picture that looks like an option": Bad(
        "detect -dash.png -q cup",
        "fo1 detect does not know '-dash.png'; for the file of that name write ./-dash.png",
        {"-dash.png": b""},
    ),
    "shortened option": Bad(
        f"{DETECT} --thresh 1", "fo1 detect does not know '--thresh'; see fo1 detect --help"
    ),
    "option of another command": Bad(
        f"{DETECT} --region 1", "fo1 detect does not know '--region'; see fo1 detect --help"
    ),
    "option without value": Bad(
        "detect a.png -q", "argument -q/--query: expected one argument; see fo1 detect --help"
    ),
    "two sources of boxes": Bad(
        f"{DETECT} --boxes boxes.json --proposer grid",
        "argument --proposer: not allowed with argument --boxes; see fo1 detect --help",
    ),
    "picture for doctor": Bad(
        "doctor a.png", "fo1 doctor does not know 'a.png'; see fo1 doctor --help"
    ),
    "threshold too high": Bad(
        f"{DETECT} --threshold 2",
        "argument --threshold: '2' is no number from 0 to 1; see fo1 detect --help",
    ),
    "threshold below 0": Bad(
        f"{DETECT} --threshold -0.1",
        "argument --threshold: '-0.1' is no number from 0 to 1; see fo1 detect --help",
    ),
    "threshold no number": Bad(
        f"{DETECT} --threshold high",
        "argument --threshold: 'high' is no number from 0 to 1; see fo1 detect --help",
    ),
    "threshold nan": Bad(
        f"{DETECT} --threshold nan",
        "argument --threshold: 'nan' is no number from 0 to 1; see fo1 detect --help",
    ),
    "name of any length": Bad(
        ["detect", "a.png", "-q", "x" * 5000], "the query has 5,000 characters; give at most 1,000"
    ),
    "detail unknown": Bad(
        "describe a.png --detail long",
        "argument --detail: invalid choice: 'long' (choose from *brief*detailed*); "
        "see fo1 describe --help",
    ),
    "proposer unknown": Bad(
        f"{DETECT} --proposer foo", "unknown proposer 'foo'; choose one of: nanodet+ssd, *grid*"
    ),
    # Queries and regions.
    "no query": Bad(
        "detect a.png",
        "detect needs a --query, the name of something; for example: fo1 detect photo.jpg -q cat",
    ),
    "empty query": Bad(
        ["count", "a.png", "-q", ""],
        "count needs a --query, the name of something; for example: fo1 count photo.jpg -q cat",
    ),
    "query of separators": Bad(
        ["refer", "a.png", "-q", " ; ;"],
        "refer needs a --query, the name of something; for example: fo1 refer photo.jpg -q cat",
    ),
    "no question": Bad(
        "ask a.png",
        "ask needs one --query, the question; got 0; "
        'for example: fo1 ask photo.jpg -q "what is this?"',
    ),
    "two questions": Bad(
        "ask a.png -q what -q why",
        "ask needs one --query, the question; got 2; "
        'for example: fo1 ask photo.jpg -q "what is this?"',
    ),
    "empty question": Bad(
        ["ask", "a.png", "-q", "  "], "the question is empty; give a word or a phrase"
    ),
    "question about a region that is not there": Bad(
        ["ask", "a.png", "-q", "why is <region7> wet?", "--boxes", "boxes.json"],
        "region 7 does not exist; this picture has regions 0 to 1",
    ),
    "region negative": Bad(
        "describe a.png --region -1",
        "argument --region: '-1' is no number of at least 0; see fo1 describe --help",
    ),
    "region no number": Bad(
        "read a.png --region 1.5",
        "argument --region: '1.5' is no number of at least 0; see fo1 read --help",
    ),
    "region that is not there": Bad(
        "describe a.png --boxes boxes.json --region 2",
        "region 2 does not exist; this picture has regions 0 to 1",
    ),
    "region that is never proposed": Bad(
        "describe a.png --proposer grid --region 100",
        "region 100 cannot be: at most 100 boxes are proposed; give --boxes with more, "
        "or a lower number",
    ),
    "region that was not proposed": Bad(
        "describe a.png --proposer none --region 0",
        "region 0 does not exist; this picture has no regions",
        status=1,
    ),
    "similar without region": Bad(
        "similar a.png --boxes boxes.json",
        "similar needs one --region, got 0; "
        "for example: fo1 similar photo.jpg --boxes boxes.json --region 0",
    ),
    "similar with two regions": Bad(
        "similar a.png --region 0 --region 1",
        "similar needs one --region, got 2; "
        "for example: fo1 similar photo.jpg --boxes boxes.json --region 0",
    ),
    # Models and devices.
    "model unknown": Bad(
        f"{DETECT} --model nix",
        "unknown model 'nix'; give 'nano', a folder with a checkpoint, "
        "or a hub id such as owner/name",
    ),
    "model is a file": Bad(
        f"{DETECT} --model boxes.json",
        "boxes.json is a file; give the folder that holds the checkpoint",
    ),
    "model without config": Bad(
        f"{DETECT} --model .", ". holds no config.json; give a folder with a checkpoint"
    ),
    "config not JSON": model(
        "changed/config.json is not a model's config (*); give a complete checkpoint",
        write("config.json", "{"),
    ),
    "config without model_type": model(
        "changed/config.json is not a model's config (*); give a complete checkpoint",
        write("config.json", "[]"),
    ),
    "config of another model": model(
        "changed holds a model of model_type 'bert'; give one of model_type 'fo1' or *",
        write("config.json", '{"model_type": "bert"}'),
    ),
    "weights damaged": model(f"cannot load changed (*); {HAVE}", cut("model.safetensors")),
    "weights missing": model(
        f"cannot load changed (*model.safetensors*); {HAVE}",
        lambda path, _: (path / "model.safetensors").unlink(),
    ),
    "device unknown": Bad(
        f"{DETECT} --device abacus",
        "device 'abacus' cannot be used here; give cpu, cuda, cuda:1 or mps, or leave it out",
    ),
    "device missing": Bad(
        f"{DETECT} --device cuda:99",
        "device 'cuda:99' cannot be used here; give cpu, cuda, cuda:1 or mps, or leave it out",
    ),
    # Boxes.
    "boxes missing": Bad(
        f"{DETECT} --boxes gone.json",
        "cannot read boxes from gone.json (No such file or directory); check the path",
    ),
    "boxes are a folder": Bad(
        f"{DETECT} --boxes .",
        "boxes.json has no list 'shapes'; it has: nothing; a folder of boxes is LabelMe's .json or YOLO's .txt",
    ),
    "boxes not JSON": boxes("[[1, 2, 3", f"bad.json is not JSON (*line 1*); {BOXES}"),
    "boxes are a picture": Bad(f"{DETECT} --boxes a.png", f"a.png is not JSON (*); {BOXES}"),
    "boxes empty": boxes(" \n", f"bad.json is empty; {BOXES}"),
    "boxes of empty stdin": Bad(f"{DETECT} --boxes -", f"standard input is empty; {BOXES}"),
    "boxes of bad stdin": Bad(
        f"{DETECT} --boxes -",
        f"standard input row 0 has 2 entries, a box has 4; {BOXES}",
        stdin=b"[[1, 2]]",
    ),
    "boxes flat": boxes("[1, 2, 3, 4]", f"bad.json row 0 is a number, not a box; {BOXES}"),
    "boxes too deep": boxes(
        "[[[1, 2, 3, 4]]]", f"bad.json row 0 has 1 entries, a box has 4; {BOXES}"
    ),
    "boxes of 3 numbers": boxes(
        "[[1, 2, 3, 4], [1, 2, 3]]", f"bad.json row 1 has 3 entries, a box has 4; {BOXES}"
    ),
    "boxes with nan": boxes(
        "[[0, 0, NaN, 5]]",
        "bad.json row 0: [0, 0, nan, 5] is not finite in float32; "
        "remove the row or give pixel coordinates",
    ),
    "boxes inverted": boxes(
        "[[30, 0, 5, 50]]",
        "bad.json row 0: x2 = 5 is less than x1 = 30; "
        "give [x1, y1, x2, y2] (xywh_to_xyxy converts xywh)",
    ),
    "boxes of texts": boxes(
        '[["1", "2", "3", "4"]]', f"bad.json row 0 holds a text, not a number; {BOXES}"
    ),
    "boxes an object": boxes(
        '{"things": [[1, 2, 3, 4]]}',
        f"bad.json holds an object without boxes, shapes or annotations; {BOXES}, or COCO's or LabelMe's",
    ),
    "boxes outside": boxes(
        "[[0, 0, 9, 9], [500, 0, 600, 50]]",
        "bad.json row 1: [500, 0, 600, 50] lies outside the picture of width 140 and height 112; "
        "give pixels of the original picture or remove the row",
        status=1,
    ),
    "boxes negative": boxes(
        "[[-50, -50, -10, -10]]",
        "bad.json row 0: [-50, -50, -10, -10] lies outside the picture of width 140 and height 112; "
        "give pixels of the original picture or remove the row",
        status=1,
    ),
    # Where pictures are saved.
    "folder to save in missing": Bad(
        f"{DETECT} --save none/x.png", "--save: folder none is missing; create it"
    ),
    "suffix to save unknown": Bad(
        f"{DETECT} --save x.xyz", "--save x.xyz: unknown suffix '.xyz'; use .png or .jpg"
    ),
    "no suffix to save": Bad(f"{DETECT} --save x", "--save x: unknown suffix ''; use .png or .jpg"),
    "one file for several": Bad(
        "detect a.png b.png -q cat --save x.png",
        "--save x.png is one file for 2 pictures; "
        "give a folder, or a pattern such as found/{stem}.png",
    ),
    "source overwritten": Bad(
        f"{DETECT} --save a.png", "--save would overwrite the picture a.png; give another name"
    ),
    "source overwritten in a folder": Bad(
        "detect . -q cat --save .", "--save would overwrite the picture a.png; give another name"
    ),
    "place to save is a folder": Bad(
        f"{DETECT} --boxes boxes.json --save x{{index}}.png",
        "cannot write x0.png: it is a folder; give a file name",
        {"x0.png": folder_of()},
        status=1,
    ),
    # Which pictures.
    "no picture": Bad(
        "detect -q cat", "no picture given; for example: fo1 detect photo.jpg -q cat"
    ),
    "folder without pictures": Bad(
        "detect empty -q cat",
        "folder empty holds no picture files; "
        "give another, or 'empty*' to look into its folders as well",
        {"empty": folder_of("notes.txt")},
    ),
    "pattern without match": Bad(
        "detect *.tif -q cat",
        "no picture file matches '*.tif'; check the path, or name the files",
    ),
    "picture missing": picture("gone.png", "gone.png does not exist; check the path"),
    "picture unnamed": picture("", "the path of the picture is empty; give a picture file"),
    "picture locked": picture(
        "locked.png",
        "locked.png may not be read by this user; change its permissions",
        JPEG,
        locked="locked.png",
    ),
    "picture remote": picture(
        "https://a.b/c.png",
        "https://a.b/c.png is remote; download it first and give the file's path",
    ),
    "picture empty": picture("empty.png", f"empty.png is empty (0 bytes); {NEED}", b""),
    "picture a text": picture(
        "text.jpg", f"text.jpg is not a picture that can be read; {NEED}", "hello"
    ),
    "picture cut": picture(
        "cut.jpg",
        "cut.jpg is damaged: image file is truncated (*); save or download it again",
        JPEG[: len(JPEG) // 2],
    ),
    "picture an SVG": picture(
        "a.svg", "a.svg is an SVG drawing; export it as PNG", "<?xml version='1.0'?>\n<svg/>"
    ),
    "picture a PDF": picture("a.png.pdf", "a.png.pdf is a PDF; export its page as PNG", "%PDF-1.7"),
    "picture HEIC": picture(
        "a.heic", "a.heic is a HEIC picture; save it as JPEG or PNG", b"\0\0\0\x18ftypheic\0\0\0\0"
    ),
    "picture a web page": picture(
        "a.jpg", "a.jpg is a web page; download the picture itself", "<!doctype html><html>"
    ),
    "picture a bomb": picture(
        "bomb.png",
        "bomb.png is too large; shrink it to at most 178956970 pixels",
        lambda path, _: Image.new("1", (20_000, 20_000)).save(path),
    ),
    "picture without pixels": picture(
        "none.ppm", f"none.ppm is not a picture that can be read; {NEED}", b"P6 0 0 255\n"
    ),
    "data URL of a text": picture(
        "data:text/plain,hi",
        "data:text/plain,hi is not a picture's data URL; give data:image/png;base64,...",
    ),
    "data URL of no picture": picture(
        "data:image/png;base64,aGk=", f"the data URL is not a picture that can be read; {NEED}"
    ),
}


def pattern(told: str) -> str:
    return re.escape(told).replace(r"\*", ".*")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("bad", TABLE.values(), ids=TABLE.keys())
def test_bad_input_is_one_line_with_the_cure(
    bad: Bad,
    as_json: bool,
    run: Any,
    loaded: Any,
    folder: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, content in bad.given.items():
        if callable(content):
            content(place / name, folder)
        else:
            (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(bad.stdin)))
    words = bad.words.split() if isinstance(bad.words, str) else bad.words
    if not {"--model", "--device", "--proposer"} & set(words):
        monkeypatch.setattr("fo1.cli.work.FO1.from_pretrained", lambda *_, **__: loaded)
    if bad.locked:
        opened = Path.open

        def guard(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.name == bad.locked:
                raise PermissionError(13, "Permission denied")
            return opened(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", guard)
    before = sorted(place.rglob("*"))
    if bad.status == 2:

        def never(*_: Any) -> None:
            raise AssertionError("a picture was opened")

        monkeypatch.setattr("fo1.cli.work.load_image", never)

    done = run([*words, *["--json"][: as_json and bool(words)]])

    assert done.status == bad.status, done
    (line,) = done.err.splitlines()
    own = "" if bad.status == 2 else f"(?:{re.escape(bad.image)}: )?"
    assert re.fullmatch(f"fo1: {own}{pattern(bad.told)}", line)
    assert "; " in bad.told or "?" in bad.told, "no cure"
    if bad.status == 1 and as_json:
        (row,) = done.rows
        assert set(row) == {"image", "error"}
        assert row["image"] == bad.image
        assert re.fullmatch(pattern(bad.told), row["error"])
    else:
        assert done.out == ""
    assert sorted(place.rglob("*")) == before
