"""The words of the command line and their help."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import fo1
from fo1.data.converters import CONVERTERS
from fo1.errors import InputError, short_name
from fo1.evaluation.tasks import TASKS
from fo1.prompts import REGION_TASKS, Task
from fo1.proposals import names

DOCTOR = "doctor"
VERIFY = "verify"
CONVERT = "convert"
EVAL = "eval"
TRAIN = "train"
DATA = "data"
WITHOUT_PICTURES = (DOCTOR, VERIFY, CONVERT, EVAL, TRAIN, DATA)
SEPARATOR = ";"

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
  fo1 detect photo.jpg -q cat --boxes boxes.json --save found.png""",
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
    DOCTOR: "  fo1 doctor\n  fo1 doctor --model ./my-model --json",
    VERIFY: "  fo1 verify VLM-FO1-3B-v01\n  fo1 verify ./my-model --no-run --json",
    CONVERT: """\
  fo1 convert VLM-FO1-3B-v01 ./fo1-3b
  fo1 convert ./my-model ./my-model-published --to published""",
    EVAL: """\
  fo1 eval photos --data photos/open.json --out out/photos --floors
  fo1 eval coco --data coco --model ./my-model --out out/coco --batch-size 8
  torchrun --nproc-per-node 8 -m fo1 eval refcoco-val --data refer --model ./my-model --out out/val
  the same command again goes on where a run was stopped; data sets: docs/evaluation.md""",
    TRAIN: """\
  fo1 train --data coco_folder --out out/mine                     nano learns the things of a COCO folder
  fo1 train nano --data yolo:my_data --out out/mine --set seed=3 --set "stages.*.steps=200"
  fo1 train lora_1gpu --model FOLDER --data coco=coco --data general=conversations.json --out out/lora
  torchrun --nproc-per-node 8 -m fo1 train RECIPE --model FOLDER --data ... --out out/3b
  the same command again goes on where a run was stopped; recipes and data: docs/training.md""",
    DATA: """\
  fo1 data inspect coco_folder --out out/seen           what it holds, and samples as the model sees them
  fo1 data inspect yolo:my_data --out out/seen --recipe nano --set sampling.jitter=0 --count 20
  fo1 data audit coco_folder --out out/doubts           labels that are likely wrong, with pictures
  fo1 data convert coco:my_data records.jsonl --max-bad 0.2""",
}

_STATUS = """\
exit status:
  0 all done; 1 some pictures or checks failed; 2 wrong use, found before any work; 130 stopped"""


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


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like all others of fo1."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving.

        Raises:
            InputError: always.
        """
        raise InputError(f"{short_name(message, 300)}; see {self.prog} --help")


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
        _add_task(_add_command(commands, str(task), about), task)
    doctor = _add_command(commands, DOCTOR, "check the installation and the model's files")
    _add_model_options(doctor)
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    _add_verify(_add_command(commands, VERIFY, "check a downloaded checkpoint, file by file"))
    _add_convert(_add_command(commands, CONVERT, "write a checkpoint in the other layout"))
    _add_eval(_add_command(commands, EVAL, "measure a model on a benchmark"))
    _add_train(_add_command(commands, TRAIN, "teach a model your data"))
    _add_data(_add_command(commands, DATA, "look at a data set, find its errors, convert it"))
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


def _add_verify(parser: Parser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="a folder with a checkpoint, or nano")
    parser.add_argument(
        "--no-run",
        dest="run",
        action="store_false",
        help="look at the files alone, without loading the model and trying a picture",
    )
    _add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_convert(parser: Parser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="a folder with a checkpoint")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument(
        "--to",
        choices=("fo1", "published"),
        default="fo1",
        help="layout to write: that of fo1, or the published one that other tools read (fo1)",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float16", "float32"),
        help="cast the weights (left as they are stored)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_debug(parser)


def _add_eval(parser: Parser) -> None:
    parser.add_argument("name", metavar="TASK", help="the benchmark, one of those below")
    parser.add_argument("--data", metavar="DIR", help="where the data set lies")
    parser.add_argument("--out", metavar="DIR", help="folder for rows, summary, report, pictures")
    parser.add_argument(
        "--limit", metavar="N", type=_number(int, 1, None), help="the first N examples alone"
    )
    parser.add_argument(
        "--proposals",
        metavar="FILE|NAME",
        help="where boxes come from: a file of them for all pictures, a proposer "
        f"({', '.join(names())}), or true for those of the annotation",
    )
    parser.add_argument(
        "--floors",
        action="store_true",
        help="also chance, majority, text alone, shuffled names, perfect boxes and the like",
    )
    parser.add_argument(
        "--causal",
        action="store_true",
        help="also whether answers follow region tokens that are swapped, shuffled or zeroed",
    )
    parser.add_argument(
        "--written",
        action="store_true",
        help="also what the language model writes where the model has a score head",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=_number(int, 1, None),
        default=1,
        help="examples that are asked together (1)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=_number(int, 0, None), default=0, help="of shuffles (0)"
    )
    _add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def _add_train(parser: Parser) -> None:
    parser.add_argument(
        "name", metavar="RECIPE", nargs="?", help="how to train, see docs/training.md (nano)"
    )
    parser.add_argument(
        "--data",
        dest="datasets",
        metavar="[NAME=][FORMAT:]PATH",
        action="append",
        help="a data set, repeat it for several; the format is found out if not given: "
        f"{', '.join(CONVERTERS)}, or records of our own",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the run and, in the end, the model"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        help="change the recipe, for example seed=3, stages.alignment.steps=500, sampling.jitter=0; repeat it",
    )
    parser.add_argument("--pictures", metavar="DIR", help="where the pictures lie, if elsewhere")
    parser.add_argument(
        "--max-bad",
        metavar="SHARE",
        type=_number(float, 0, 1),
        default=0.05,
        help="share of rows that may be unusable (0.05)",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="begin with this model: nano, a folder or a hub id"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_debug(parser)


def _add_data(parser: Parser) -> None:
    parser.set_defaults(debug=False)  # for a command without an action
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions")
    inspect = _add_action(
        actions, "inspect", "what a data set holds, and what the model sees of it"
    )
    _add_out(inspect)
    inspect.add_argument("--recipe", metavar="NAME", help="that samples are drawn for (nano)")
    inspect.add_argument(
        "--set", metavar="KEY=VALUE", action="append", help="change the recipe, as fo1 train does"
    )
    inspect.add_argument(
        "--count",
        metavar="N",
        type=_number(int, 1, None),
        default=10,
        help="samples to draw (10)",
    )
    inspect.add_argument("--model", metavar="NAME", help="whose tokens are shown; the recipe's own")
    audit = _add_action(actions, "audit", "labels of detection data that are likely wrong")
    _add_out(audit)
    audit.add_argument(
        "--limit", metavar="N", type=_number(int, 1, None), help="the first N records alone"
    )
    audit.add_argument(
        "--model", metavar="NAME", help="who judges: nano, a folder, a hub id (nano)"
    )
    audit.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps")
    convert = _add_action(actions, "convert", "write a data set as records")
    convert.add_argument("out", metavar="OUT", help="a .jsonl, .parquet or .tar file")
    convert.add_argument(
        "--embed", action="store_true", help="put the pictures inside (their files are named)"
    )


def _add_action(actions: Any, name: str, about: str) -> Parser:
    parser = actions.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False
    )
    parser.add_argument(
        "source",
        metavar="[FORMAT:]PATH",
        help=f"a data set; the format is found out if not given: {', '.join(CONVERTERS)}, records",
    )
    parser.add_argument("--pictures", metavar="DIR", help="where the pictures lie, if elsewhere")
    parser.add_argument(
        "--max-bad",
        metavar="SHARE",
        type=_number(float, 0, 1),
        default=0.05,
        help="share of rows that may be unusable (0.05)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_debug(parser)
    return parser


def _add_out(parser: Parser) -> None:
    parser.add_argument("--out", metavar="DIR", help="folder for what is found")


def _add_task(parser: Parser, task: Task) -> None:
    parser.set_defaults(query=[], region=None, detail="brief", think=False)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        default=[],
        help="a picture file, a folder of them, or a pattern in quotes such as 'photos/**/*.jpg' "
        "(** looks into all folders); each picture is taken once",
    )
    if task in (Task.DETECT, Task.REFER, Task.COUNT, Task.ASK):
        what = {Task.REFER: "the expression", Task.ASK: "the question"}.get(task, "a name")
        several = "" if task is Task.ASK else f"; repeat it, or put '{SEPARATOR}' between several"
        several += "; the count is that of all" if task is Task.COUNT else ""
        parser.add_argument(
            "-q", "--query", metavar="TEXT", action="append", help=f"{what}{several}"
        )
    if task in (*REGION_TASKS, Task.SIMILAR):
        unnamed = {Task.SIMILAR: "", Task.DESCRIBE: "repeat it; ", Task.READ: "repeat it; "}[task]
        unnamed += "" if task is Task.SIMILAR else "up to ten of the boxes if left out"
        parser.add_argument(
            "--region",
            metavar="N",
            action="append",
            type=_number(int, 0, None),
            help="number of a region, counted from 0" + (f"; {unnamed}" if unnamed else ""),
        )
    if task is Task.DESCRIBE:
        parser.add_argument(
            "--detail", choices=("brief", "detailed"), help="how much to say (brief)"
        )
    if task is Task.ASK:
        parser.add_argument(
            "--think", action="store_true", help="reason about regions before answering"
        )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--boxes",
        metavar="FILE",
        help="JSON list of [x1, y1, x2, y2] in pixels, taken as the regions of every picture; "
        "- reads standard input",
    )
    source.add_argument(
        "--proposer", metavar="NAME", help=f"where boxes come from: {', '.join(names())}"
    )
    _add_model_options(parser)
    parser.add_argument(
        "--threshold",
        metavar="P",
        type=_number(float, 0, 1),
        help="least score of a detection, 0 to 1",
    )
    parser.add_argument(
        "--save",
        metavar="PICTURE",
        help="write the picture with its detections; for several pictures give a folder that "
        "exists, or a pattern such as found/{stem}.png or found/{index}.png",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per picture and line"
    )


def _add_model_options(parser: Parser) -> None:
    parser.add_argument(
        "--model", metavar="NAME", default="nano", help="nano, a folder or a hub id (nano)"
    )
    _add_device(parser)


def _add_device(parser: Parser) -> None:
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (cuda if there is a GPU)"
    )
    _add_debug(parser)


def _add_debug(parser: Parser) -> None:
    parser.add_argument("--debug", action="store_true", help="show tracebacks and warnings")


def _number(
    kind: type[int] | type[float], least: float, most: float | None
) -> Callable[[str], float]:
    """Return a reader of numbers in a range."""
    span = f"from {least} to {most}" if most is not None else f"of at least {least}"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= least or (most is not None and not value <= most):
            raise argparse.ArgumentTypeError(f"'{short_name(text)}' is no number {span}")
        return value

    return read


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
