"""The words of the command line and their help."""

import argparse
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import fo1
from fo1.cli.options import (
    Parser,
    add_convert,
    add_data,
    add_doctor,
    add_eval,
    add_label,
    add_mcp,
    add_serve,
    add_task,
    add_train,
    add_verify,
)
from fo1.errors import InputError, short_name
from fo1.evaluation.tasks import TASKS
from fo1.prompts import Task

DOCTOR = "doctor"
VERIFY = "verify"
CONVERT = "convert"
EVAL = "eval"
TRAIN = "train"
DATA = "data"
LABEL = "label"
SERVE = "serve"
MCP = "mcp"
WITHOUT_PICTURES = (DOCTOR, VERIFY, CONVERT, EVAL, TRAIN, DATA, LABEL, SERVE, MCP)

_ABOUT = {
    Task.DETECT: "find everything that the queries name",
    Task.REFER: "find the one thing that an expression means",
    Task.COUNT: "count what a query names",
    Task.DESCRIBE: "say what regions show",
    Task.READ: "read the text in regions",
    Task.ASK: "answer a question; <region3> in it names a region",
    Task.GROUND: "describe the picture, with a region for each thing mentioned",
    Task.SIMILAR: "find the other regions that show what one region shows",
}

_EXAMPLES = {
    "fo1": """\
  fo1 detect photo.jpg -q cat -q "coffee cup"       what is where, with a score on each box
  fo1 detect photos -q "cat; dog" --json            a folder: a JSON object per picture and line
  fo1 refer photo.jpg -q "the cup on the left"
  fo1 count photo.jpg -q orange --save counted.png
  fo1 describe photo.jpg --boxes boxes.json --region 0
  fo1 ask photo.jpg -q "why is <region1> wet?" --boxes boxes.json
  fo1 doctor                                        is everything in place?""",
    Task.DETECT: """\
  fo1 detect photo.jpg -q cat -q "coffee cup"
  fo1 detect photos "more/**/*.jpg" -q "cat; dog" --json > found.jsonl
  fo1 detect photo.jpg -q cat --boxes boxes.json --save found.png
  fo1 detect photo.jpg -q cat --proposer ./my-detector""",
    Task.REFER: '  fo1 refer photo.jpg -q "the cup on the left"',
    Task.COUNT: "  fo1 count photo.jpg -q orange --save counted.png",
    Task.DESCRIBE: """\
  fo1 describe photo.jpg                            the ten likeliest boxes
  fo1 describe photo.jpg --boxes boxes.json --region 0 --region 3 --detail detailed""",
    Task.READ: "  fo1 read photo.jpg --boxes boxes.json",
    Task.ASK: """\
  fo1 ask photo.jpg -q "what is on the table?"
  fo1 ask photo.jpg -q "why is <region1> wet?" --boxes boxes.json""",
    Task.GROUND: "  fo1 ground photo.jpg --save grounded.png",
    Task.SIMILAR: "  fo1 similar photo.jpg --boxes boxes.json --region 4",
    DOCTOR: "  fo1 doctor\n  fo1 doctor --model ./my-model --proposer ./my-detector --json",
    VERIFY: "  fo1 verify VLM-FO1-3B-v01\n  fo1 verify ./my-model --no-run --json",
    CONVERT: """\
  fo1 convert VLM-FO1-3B-v01 ./fo1-3b
  fo1 convert ./my-model ./my-model-published --to published
  fo1 convert nano ./nano-onnx --to onnx            detection without Python, see examples/web""",
    EVAL: """\
  fo1 eval photos --data photos/open.json --out out/photos --floors
  fo1 eval coco --data coco --model ./my-model --out out/coco --batch-size 8
  torchrun --nproc-per-node 8 -m fo1 eval refcoco-val --data refer --model ./my-model --out out/val
  the same command again goes on where a run was stopped; data sets: docs/evaluation.md""",
    TRAIN: """\
  fo1 train --data coco_folder --out out/mine                     nano learns the things of a COCO folder
  fo1 train nano --data yolo:my_data --out out/mine --set seed=3 --set "stages.*.steps=200"
  fo1 train stage1 --model HOST --data coco_folder --out out/host   a VLM of any family gets region tokens
  fo1 train lora_1gpu --model FOLDER --data coco=coco --data general=conversations.json --out out/lora
  torchrun --nproc-per-node 8 -m fo1 train RECIPE --model FOLDER --data ... --out out/3b
  the same command again goes on where a run was stopped; recipes and data: docs/training.md""",
    LABEL: """\
  fo1 label photos -q "cup; dog" --out out/labels                       coco.json, statistics, a contact sheet
  fo1 label list.csv --queries names.txt --format yolo,labelme --out out/labels --processes 4
  fo1 label instances.json --pictures val2017 -q person --out out/labels --ray
  the same command again goes on where a run was stopped; other formats cost no second run: docs/labelling.md""",
    DATA: """\
  fo1 data inspect coco_folder --out out/seen           what it holds, and samples as the model sees them
  fo1 data inspect yolo:my_data --out out/seen --recipe nano --set sampling.jitter=0 --count 20
  fo1 data audit coco_folder --out out/doubts           labels that are likely wrong, with pictures
  fo1 data convert coco:my_data records.jsonl --max-bad 0.2""",
    SERVE: """\
  fo1 serve                                             nano at http://127.0.0.1:8000
  fo1 serve --model ./my-model --port 9000 --api-key-file keys.txt --limit seconds=30 --limit batch=16
  requests and answers: docs/serving.md""",
    MCP: """\
  fo1 mcp                                               started by an agent's program, see docs/serving.md""",
}

_STATUS = """\
exit status:
  0 all done; 1 some pictures or checks failed; 2 wrong use, found before any work; 130 stopped;
  141 the reader of the output has gone"""


class Arguments(argparse.Namespace):
    """The parsed words, by the names of the options.

    Attributes:
        command: the value of a `Task`, or one of `WITHOUT_PICTURES`.
        images: pictures as they were typed.
    """

    command: str
    images: list[str]
    query: list[str]
    boxes: str | None
    proposer: str | None
    region: list[int] | None
    detail: str
    think: bool
    model: str
    device: str | None
    threshold: float | None
    save: str | None
    json: bool
    debug: bool
    folder: str
    run: bool
    out: str
    to: str
    dtype: str | None
    name: str
    data: str | None
    limit: int | None
    proposals: str | None
    floors: bool
    causal: bool
    written: bool
    batch_size: int
    seed: int
    datasets: list[str] | None
    pictures: str | None
    max_bad: float
    set: list[str] | None
    action: str | None
    source: str
    recipe: str | None
    count: int
    embed: bool
    host: str
    port: int
    api_key_file: str | None
    remote_pictures: bool
    limits: list[str] | None
    queries: str | None
    format: list[str] | None
    processes: int | None
    ray: bool


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> Arguments:
    """Return the parsed words; options may stand before, between and behind the pictures.

    Raises:
        InputError: there is no command, or an option is unknown or has no usable value.
    """
    _check_command(next((word for word in words if not word.startswith("-")), None))
    arguments, rest = parser.parse_known_args(words, Arguments())
    if arguments.command is None:
        strange = f"there is no {short_name(rest[0])}; " if rest else ""
        parser.error(f"{strange}give a command, for example: fo1 detect photo.jpg -q cat")
    unknown = [word for word in rest if word.startswith("-") and word != "--"]
    if unknown or (rest and arguments.command in WITHOUT_PICTURES):
        word = (unknown or rest)[0]
        known = f"see fo1 {arguments.command} --help"
        if word.startswith("-") and Path(word).exists():
            known = f"for the file of that name write ./{word}"
        raise InputError(f"fo1 {arguments.command} does not know '{short_name(word)}'; {known}")
    if arguments.command not in WITHOUT_PICTURES:
        arguments.images += [word for word in rest if word != "--"]
    return arguments


def _check_command(word: str | None) -> None:
    commands = [str(name) for name in _EXAMPLES if name != "fo1"]
    if word is None or word in commands:
        return
    near = get_close_matches(word, commands, 1)
    cure = f"did you mean {near[0]}?" if near else f"give one of: {', '.join(commands)}"
    raise InputError(f"unknown command '{short_name(word)}'; {cure}")


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="fo1",
        description="Find, count, describe and discuss the things in pictures. Every box becomes "
        "a region token; every answer names regions.",
        epilog=_epilog("fo1"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fo1 {fo1.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for task, about in _ABOUT.items():
        add_task(_add_command(commands, str(task), about), task)
    add_doctor(_add_command(commands, DOCTOR, "check the installation and the model's files"))
    add_verify(_add_command(commands, VERIFY, "check a downloaded checkpoint, file by file"))
    add_convert(_add_command(commands, CONVERT, "write a checkpoint in another layout"))
    add_eval(_add_command(commands, EVAL, "measure a model on a benchmark"))
    add_train(_add_command(commands, TRAIN, "teach a model your data"))
    add_label(
        _add_command(commands, LABEL, "label many pictures, into the files that other tools read")
    )
    add_data(_add_command(commands, DATA, "look at a data set, find its errors, convert it"))
    add_serve(_add_command(commands, SERVE, "answer over HTTP, also in the shape of OpenAI's API"))
    add_mcp(_add_command(commands, MCP, "be a tool of agents, by the Model Context Protocol"))
    return parser


def _add_command(commands: Any, name: str, about: str) -> Parser:
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_epilog(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _epilog(name: str) -> str:
    tasks = textwrap.fill(
        ", ".join(TASKS),
        width=96,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    listed = f"tasks:\n{tasks}\n\n" if name == EVAL else ""
    return f"{listed}examples:\n{_EXAMPLES[name]}\n\n{_STATUS}"
