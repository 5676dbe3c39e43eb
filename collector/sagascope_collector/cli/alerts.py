"""The command that tries out a file of alerts: `alerts`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import config_file, safe_text
from sagascope_collector.alerting import Alerts, NotDelivered, Webhook, send_test
from sagascope_collector.cli import exit_codes


class Action(StrEnum):
    """What can be done with a file of alerts."""

    TEST = "test"
    CHECK = "check"


File = Annotated[
    Path, typer.Option("--alerts", envvar="SAGASCOPE_ALERTS", metavar="FILE", help="The file of webhooks and rules.")
]


def alerts(
    action: Annotated[Action, typer.Argument(help="test: send a test to every webhook. check: only read the file.")],
    file: File,
) -> None:
    """Try out a file of webhooks and rules.

    It is the one that `serve --alerts` takes. Exit status 1: a webhook did not take its test.
    """
    said = config_file.read(file, Alerts)
    if action is Action.CHECK:
        for warning in said.lacking(os.environ):
            typer.echo(f"{safe_text.line(warning)} It must be where the collector runs.", err=True)
        typer.echo(f"{safe_text.line(str(file))} is sound: {len(said.webhooks)} webhooks, {len(said.rules)} rules.")
        return
    arrived = [_took_it(webhook) for webhook in said.webhooks]
    raise typer.Exit(exit_codes.DONE if all(arrived) else exit_codes.NOT_FOUND)


def _took_it(webhook: Webhook) -> bool:
    """Send a test, and say what came of it."""
    try:
        send_test(webhook, os.environ)
    except NotDelivered as error:
        typer.echo(f"{safe_text.line(webhook.name)}: not delivered: {error}.", err=True)
        return False
    typer.echo(f"{safe_text.line(webhook.name)}: delivered.")
    return True
