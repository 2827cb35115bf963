"""`fo1 serve` and `fo1 mcp`: what was typed to something that answers until it is told to end."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fo1.cli.arguments import Arguments
from fo1.cli.quiet import quiet
from fo1.errors import InputError, MissingExtraError, short_name
from fo1.proposals import check_name
from fo1.serving.limits import Limits

if TYPE_CHECKING:
    from fo1.pipeline import FO1

_HERE = ("127.0.0.1", "::1", "localhost")


def plan(arguments: Arguments) -> tuple[Limits, tuple[str, ...]]:
    """Return the limits and keys of a server, checked without torch.

    Raises:
        InputError: something in the command cannot be used.
        MissingExtraError: the packages of a server are missing.
    """
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise MissingExtraError("fo1 serve", package, "serve")
    keys = () if arguments.api_key_file is None else _read_keys(arguments.api_key_file)
    if arguments.proposer is not None:
        check_name(arguments.proposer)
    return Limits.parse(arguments.limits or ()), keys


def serve(arguments: Arguments) -> None:
    """Serve until a signal says to end.

    Raises:
        FO1Error: the address or the model cannot be had.
    """
    limits, keys = plan(arguments)
    with quiet():
        from fo1.serving.server import Server, bind, create_service, url_of

        sock = bind(arguments.host, arguments.port)
        model = _load(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="fo1: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what it knows, the gate tells
    service = create_service(model, limits, keys=keys, remote=arguments.remote_pictures)
    if not keys and arguments.host not in _HERE:
        _tell(f"whoever reaches {arguments.host} may ask; --api-key-file FILE keeps others out")
    told = f"serving {service.name} at {url_of(sock)}; Ctrl-C ends it"
    Server(service, lambda: _tell(told)).run([sock])


def be_a_tool(arguments: Arguments, messages: TextIO, out: TextIO) -> None:
    """Answer an agent until it hangs up.

    Raises:
        InputError: no proposer has this name.
    """
    if arguments.proposer is not None:
        check_name(arguments.proposer)
    from fo1.serving.mcp import run

    run(lambda: _load(arguments), messages, out)


def _load(arguments: Arguments) -> FO1:
    """Return the model, its proposer ready."""
    from fo1.pipeline import FO1

    model = FO1.from_pretrained(
        arguments.model, device=arguments.device, proposer=arguments.proposer
    )
    model.get_proposer()
    return model


def _tell(line: str) -> None:
    sys.stderr.write(f"fo1: {line}\n")
    sys.stderr.flush()


def _read_keys(file: str) -> tuple[str, ...]:
    """Return the keys of a file, one a line."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(
            f"--api-key-file {short_name(file)} cannot be read ({reason}); give a file, one key a line"
        ) from error
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise InputError(f"--api-key-file {short_name(file)} holds no key; write one a line")
    return keys
