"""The command line: `fo1 detect photo.jpg -q cat`. Nobody imports it.

Exit status: 0 all done; 1 some pictures failed; 2 wrong use, found before any work; 130 stopped; 141 the reader
of the output has gone.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from io import TextIOWrapper
from typing import TextIO

from fo1.cli.arguments import (
    CONVERT,
    DATA,
    DOCTOR,
    EVAL,
    LABEL,
    MCP,
    SERVE,
    TRAIN,
    VERIFY,
    Arguments,
    build_parser,
    parse,
)
from fo1.cli.interrupts import Interrupts
from fo1.cli.job import plan
from fo1.cli.missing import tell_missing
from fo1.cli.quiet import quiet
from fo1.errors import FO1Error
from fo1.garbage import collector_paused

OK, FAILED, WRONG_USE, STOPPED, UNREAD = 0, 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: the words behind `fo1`; those of the process if not given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    out = sys.stdout
    if out is None:  # closed by whoever started the process
        return _fail("standard output is closed; open it, or send it to a file", WRONG_USE, words)
    if isinstance(out, TextIOWrapper):  # a terminal of few letters shows the rest escaped
        out.reconfigure(errors="backslashreplace")
    with Interrupts() as interrupts:
        return _guarded(words, out, interrupts)


def _guarded(words: Sequence[str], out: TextIO, interrupts: Interrupts) -> int:
    """Run one command and return its exit status, whatever happens."""
    try:
        status = _finished(words, out, interrupts)
        out.flush()  # else what cannot be written is told when the interpreter ends, and as it likes
        return status
    except KeyboardInterrupt as stop:
        if interrupts.hurried:
            _abandon(out)
        return _fail(str(stop) or "stopped", STOPPED, words)
    except BrokenPipeError:  # as where SIGPIPE ends the process
        _abandon(out)
        return UNREAD
    except FO1Error as error:
        return _fail(str(error), WRONG_USE, words)
    except OSError as error:
        _abandon(out)
        reason = error.strerror or type(error).__name__
        return _fail(f"cannot write the output ({reason}); send it elsewhere", FAILED, words)
    except Exception as error:  # the last edge: a user gets one line, --debug the traceback
        reason = " ".join(str(error).split())[:200]
        hint = "run it again with --debug, and see fo1 doctor"
        return _fail(f"{type(error).__name__}: {reason}; {hint}", FAILED, words)


def _abandon(out: TextIO) -> None:
    """Keep the interpreter from flushing into a pipe that nobody empties."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _finished(words: Sequence[str], out: TextIO, interrupts: Interrupts) -> int:
    try:
        return _run(words, out, interrupts)
    except SystemExit as stop:  # argparse leaves this way after --help and --version
        return int(stop.code or OK)


def _run(words: Sequence[str], out: TextIO, interrupts: Interrupts) -> int:
    arguments = parse(build_parser(), words)
    if arguments.command == SERVE:
        return _serve(arguments)
    silence = nullcontext() if arguments.debug else quiet()
    # Whatever a library prints must not reach a reader of JSON.
    with redirect_stdout(sys.stderr), silence:
        if arguments.command == DOCTOR:
            return _doctor(arguments, out)
        if arguments.command == VERIFY:
            return _verify(arguments, out)
        if arguments.command == CONVERT:
            return _convert(arguments, out)
        if arguments.command == EVAL:
            return _eval(arguments, words, out, interrupts)
        if arguments.command == TRAIN:
            return _train(arguments, words, out, interrupts)
        if arguments.command == MCP:
            return _mcp(arguments, out)
        if arguments.command == DATA:
            return _data(arguments, out, interrupts)
        if arguments.command == LABEL:
            return _label(arguments, out, interrupts)
        job = plan(arguments)
        if tell_missing(job, out, sys.stderr, interrupts):
            return FAILED
        with collector_paused():  # while the libraries load
            from fo1.cli.work import work

        return FAILED if work(job, out, sys.stderr, interrupts) else OK


def _doctor(arguments: Arguments, out: TextIO) -> int:
    from fo1.cli.doctor import examine, report

    checks = examine(arguments.model, arguments.device, arguments.proposer)
    out.write(report(checks, as_json=arguments.json))
    return OK if all(check.ok for check in checks) else FAILED


def _verify(arguments: Arguments, out: TextIO) -> int:
    from fo1.cli.verify import examine, report

    found = examine(arguments.folder, run=arguments.run, device=arguments.device)
    out.write(report(found, as_json=arguments.json))
    return OK if found.ok else FAILED


def _convert(arguments: Arguments, out: TextIO) -> int:
    from fo1.cli.convert import report, write

    done = write(arguments.folder, arguments.out, layout=arguments.to, dtype=arguments.dtype)
    out.write(report(done, as_json=arguments.json))
    return OK


def _eval(arguments: Arguments, words: Sequence[str], out: TextIO, interrupts: Interrupts) -> int:
    from fo1.cli.evaluate import measure, plan

    return FAILED if measure(plan(arguments, words), out, sys.stderr, interrupts) else OK


def _train(arguments: Arguments, words: Sequence[str], out: TextIO, interrupts: Interrupts) -> int:
    from fo1.cli.train import plan, train

    return FAILED if train(plan(arguments, words), out, sys.stderr, interrupts) else OK


def _data(arguments: Arguments, out: TextIO, interrupts: Interrupts) -> int:
    from fo1.cli.data import data

    return FAILED if data(arguments, out, sys.stderr, interrupts) else OK


def _serve(arguments: Arguments) -> int:
    from fo1.cli.serve import serve

    serve(arguments)  # logs go to stderr, and nothing goes to stdout
    return OK


def _mcp(arguments: Arguments, out: TextIO) -> int:
    from fo1.cli.serve import be_a_tool

    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(
            encoding="utf-8", errors="replace"
        )  # what is no UTF-8 is no JSON either
    be_a_tool(arguments, sys.stdin, out)
    return OK


def _label(arguments: Arguments, out: TextIO, interrupts: Interrupts) -> int:
    from fo1.cli.label import label_pictures, plan

    return FAILED if label_pictures(plan(arguments), out, sys.stderr, interrupts) else OK


def _fail(message: str, status: int, words: Sequence[str]) -> int:
    if "--debug" in words:
        traceback.print_exc()
    # What was typed may hold line breaks.
    sys.stderr.write(f"fo1: {' '.join(message.splitlines())}\n")
    return status
