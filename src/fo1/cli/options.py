"""The options of each command; `arguments` puts the commands together."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NoReturn

from fo1.data.converters import CONVERTERS
from fo1.errors import InputError, short_name
from fo1.export import EXPORTS
from fo1.prompts import REGION_TASKS, Task
from fo1.proposals import DETECTOR_HELP, names
from fo1.serving.limits import Limits

SEPARATOR = ";"
LIMITS = ", ".join(f"{field.name} ({field.default})" for field in fields(Limits))


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like all others of fo1."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving.

        Raises:
            InputError: always.
        """
        raise InputError(f"{short_name(message, 300)}; see {self.prog} --help")


def add_verify(parser: Parser) -> None:
    """Add what `fo1 verify` takes."""
    parser.add_argument("folder", metavar="FOLDER", help="a folder with a checkpoint, or nano")
    parser.add_argument(
        "--no-run",
        dest="run",
        action="store_false",
        help="look at the files alone, without loading the model and trying a picture",
    )
    _add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_convert(parser: Parser) -> None:
    """Add what `fo1 convert` takes."""
    parser.add_argument("folder", metavar="FOLDER", help="a folder with a checkpoint, or nano")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument(
        "--to",
        choices=("fo1", "published", "onnx"),
        default="fo1",
        help="layout to write: that of fo1, the published one that other tools read, or ONNX graphs (fo1)",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float16", "float32"),
        help="cast the weights (left as they are stored)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_debug(parser)


def add_eval(parser: Parser) -> None:
    """Add what `fo1 eval` takes."""
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
        f"({', '.join(names())}; or {DETECTOR_HELP}), or true for those of the annotation",
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
    _add_batch_size(parser, "examples")
    parser.add_argument(
        "--seed", metavar="N", type=_number(int, 0, None), default=0, help="of shuffles (0)"
    )
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def add_serve(parser: Parser) -> None:
    """Add what `fo1 serve` takes."""
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (127.0.0.1)"
    )
    parser.add_argument(
        "--port", metavar="N", type=_number(int, 0, 65535), default=8000, help="of it (8000)"
    )
    parser.add_argument(
        "--api-key-file", metavar="FILE", help="keys that clients must send one of, one a line"
    )
    parser.add_argument(
        "--remote-pictures",
        action="store_true",
        help="fetch pictures from http(s) URLs, of public addresses alone (off)",
    )
    parser.add_argument(
        "--limit",
        dest="limits",
        metavar="NAME=N",
        action="append",
        help=f"change a bound, repeat it for several: {LIMITS}; see docs/serving.md",
    )
    add_mcp(parser)


def add_mcp(parser: Parser) -> None:
    """Add what `fo1 mcp` takes, and `fo1 serve` as well."""
    _add_proposer(parser)
    add_model_options(parser)


def add_label(parser: Parser) -> None:
    """Add what `fo1 label` takes."""
    parser.set_defaults(query=[])
    parser.add_argument(
        "source",
        metavar="FOLDER_OR_LIST",
        help="a folder of pictures, at any depth, or a .txt, .csv, .jsonl or COCO .json file that names them",
    )
    parser.add_argument(
        "-q",
        "--query",
        metavar="TEXT",
        action="append",
        help=f"a name; repeat it, or put '{SEPARATOR}' between several",
    )
    parser.add_argument("--queries", metavar="FILE", help="a text file with a name a line")
    parser.add_argument(
        "--format",
        metavar="NAME",
        action="append",
        help=f"of the labels: {', '.join(EXPORTS)}; repeat it, or put ',' between several (coco)",
    )
    _add_out(parser)
    parser.add_argument(
        "--pictures", metavar="DIR", help="where the paths of a list start from, if not beside it"
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        type=_number(int, 1, None),
        help="processes that label; each loads the model (one a GPU, else one a core, eight at most)",
    )
    parser.add_argument(
        "--ray", action="store_true", help="share the work among the machines of a Ray cluster"
    )
    _add_batch_size(parser, "pictures")
    _add_proposer(parser)
    _add_threshold(parser)
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")


def add_train(parser: Parser) -> None:
    """Add what `fo1 train` takes."""
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
    _add_rows(parser)
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="begin with this model, or host VLM: nano, a folder or a hub id",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_debug(parser)


def add_data(parser: Parser) -> None:
    """Add what `fo1 data` takes."""
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
    _add_rows(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_debug(parser)
    return parser


def _add_rows(parser: Parser) -> None:
    parser.add_argument("--pictures", metavar="DIR", help="where the pictures lie, if elsewhere")
    parser.add_argument(
        "--max-bad",
        metavar="SHARE",
        type=_number(float, 0, 1),
        default=0.05,
        help="share of rows that may be unusable (0.05)",
    )


def _add_batch_size(parser: Parser, what: str) -> None:
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=_number(int, 1, None),
        default=1,
        help=f"{what} that are asked together (1)",
    )


def _add_threshold(parser: Parser) -> None:
    parser.add_argument(
        "--threshold",
        metavar="P",
        type=_number(float, 0, 1),
        help="least score of a detection, 0 to 1",
    )


def _add_out(parser: Parser) -> None:
    parser.add_argument("--out", metavar="DIR", help="folder for what is found")


def add_task(parser: Parser, task: Task) -> None:
    """Add what a command that asks about pictures takes."""
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
        help="JSON list of [x1, y1, x2, y2] in pixels, taken as the regions of every picture; or COCO "
        "(annotations or results), YOLO (.txt), LabelMe, or a folder of those two; "
        "- reads JSON from standard input",
    )
    _add_proposer(source)
    add_model_options(parser)
    _add_threshold(parser)
    parser.add_argument(
        "--save",
        metavar="PICTURE",
        help="write the picture with its detections; for several pictures give a folder that "
        "exists, or a pattern such as found/{stem}.png or found/{index}.png",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per picture and line"
    )


def _add_proposer(parser: Any) -> None:
    parser.add_argument(
        "--proposer",
        metavar="NAME|FOLDER",
        help=f"where boxes come from: {', '.join(names())}; or {DETECTOR_HELP}; "
        "one that is prompted with text looks for the queries",
    )


def add_doctor(parser: Parser) -> None:
    """Add what `fo1 doctor` takes."""
    _add_proposer(parser)
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_model_options(parser: Parser) -> None:
    """Add which model, and where it runs."""
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
