"""The command `alerts`, which checks and tests an alerts file."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import config_file, safe_text
from sagascope_collector.alerting import Alerts, NotDelivered, Receiver, send_test
from sagascope_collector.cli import exit_codes


class Action(StrEnum):
    """What is done with an alerts file."""

    TEST = "test"
    CHECK = "check"


File = Annotated[
    Path, typer.Option("--alerts", envvar="SAGASCOPE_ALERTS", metavar="FILE", help="The file of receivers and rules.")
]


def alerts(
    action: Annotated[Action, typer.Argument(help="test: send a test to every receiver. check: only read the file.")],
    file: File,
) -> None:
    """Check or test a file of receivers and rules.

    It is the file that `serve --alerts` takes. Exit status 1: a receiver did not accept its test.
    """
    known = config_file.read(file, Alerts)
    if action is Action.CHECK:
        for warning in known.missing_tokens(os.environ):
            typer.echo(f"{safe_text.line(warning)} It must be set where the collector runs.", err=True)
        typer.echo(f"{safe_text.line(str(file))} is valid: {len(known.receivers)} receivers, {len(known.rules)} rules.")
        return
    delivered = [_test(receiver) for receiver in known.receivers]
    raise typer.Exit(exit_codes.DONE if all(delivered) else exit_codes.NOT_FOUND)


def _test(receiver: Receiver) -> bool:
    """Sends a test and prints the outcome; returns whether it was delivered."""
    try:
        send_test(receiver, os.environ)
    except NotDelivered as error:
        typer.echo(f"{safe_text.line(receiver.name)}: not delivered: {error}.", err=True)
        return False
    typer.echo(f"{safe_text.line(receiver.name)}: delivered.")
    return True
