"""``python -m sagascope_samples``: the demo, as ``sagascope demo`` starts it."""

import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sagascope_samples.demo import ENGINES, LISTENERS, Address, CannotStart, Options, play

EXIT_STOPPED: Final = 130
"""Exit status of a headless run that a signal ended: it verified nothing."""


def main(words: Sequence[str] | None = None) -> int:
    """Runs the demo; the exit status is 0 if it succeeded, 1 if it failed, 2 if it could not start."""
    options = parse_options(words)
    try:
        return asyncio.run(play(options))
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except asyncio.CancelledError:
        return EXIT_STOPPED if options.headless else 0


def parse_options(words: Sequence[str] | None) -> Options:
    """Parses the command line; an invalid option ends the process with status 2."""
    parser = ArgumentParser(prog="sagascope demo", description="Run services with stuck payments on this machine.")
    parser.add_argument("--headless", action="store_true", help="run without a browser, verify each finding, and exit")
    parser.add_argument("--json", action="store_true", help="with --headless: print one JSON report and nothing else")
    parser.add_argument(
        "--folder", type=Path, help="folder for logs and databases (default .demo; headless: a temporary one)"
    )
    parser.add_argument("--engine", choices=sorted(ENGINES), help="what the services run on instead of HTTP")
    for name, listener in LISTENERS.items():
        description = f"{listener.title}{listener.note} (default {listener.default}; headless: any free; :0 = any free)"
        parser.add_argument(listener.option, dest=name, type=_address, metavar="HOST:PORT", help=description)
    given = vars(parser.parse_args(words))
    if given["json"] and not given["headless"]:
        parser.error("--json needs --headless")
    requested = {name: given[name] for name in LISTENERS if given[name]}
    return Options(given["headless"], given["json"], given["folder"], requested, given["engine"])


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
