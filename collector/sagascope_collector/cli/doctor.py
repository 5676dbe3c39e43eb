"""The command `doctor`."""

import json as jsons
import os
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from rich.console import Group
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.access import load_token
from sagascope_collector.cli import exit_codes, terminal
from sagascope_collector.cli.connection import Url, with_credentials
from sagascope_collector.cli.options import option
from sagascope_collector.client import DEFAULT_URL
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.doctor import Result, State, Target, examine
from sagascope_collector.settings import DEFAULT_DB, OTLP_GRPC, OTLP_HTTP, Address

PROBLEM_FOUND: Final = 1
"""The exit status if a check failed."""

STATE_MARKS: Final = {
    State.OK: ("✓", "green"),
    State.WARNING: ("~", "yellow"),
    State.PROBLEM: ("✗", "red"),
    State.SKIPPED: ("·", "dim"),
}

OtlpGrpc = Annotated[
    str | None,
    typer.Option(
        "--otlp-grpc",
        envvar="SAGASCOPE_OTLP_GRPC",
        help="Address for OTLP over gRPC. Default: port 4317 of the API's host.",
        metavar="HOST:PORT",
    ),
]
OtlpHttp = Annotated[
    str | None,
    typer.Option(
        "--otlp-http",
        envvar="SAGASCOPE_OTLP_HTTP",
        help="Address for OTLP over HTTP. Default: port 4318 of the API's host.",
        metavar="HOST:PORT",
    ),
]
Wait = Annotated[
    float, typer.Option("--wait", envvar="SAGASCOPE_WAIT", help="Timeout of one answer.", metavar="SECONDS", min=0.1)
]
Json = Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print the results as JSON.")]


@with_credentials
def doctor(
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    otlp_grpc: OtlpGrpc = None,
    otlp_http: OtlpHttp = None,
    db: Annotated[str, option("db")] = DEFAULT_DB,
    ingest_token_file: Annotated[Path | None, option("ingest_token_file")] = None,
    wait: Wait = 5.0,
    json: Json = False,
) -> None:
    """Check a collector and the path of telemetry into it.

    Checks the ports, the disk, the database and the clocks, sends a test span over gRPC and over HTTP, and reads both
    back. The test spans belong to completed sagas of the reserved name and environment sagascope.doctor. Exit status 0:
    no problem was found. Exit status 1: a problem was found.
    """
    host = urlsplit(url).hostname or OTLP_HTTP.host
    host = OTLP_HTTP.host if host == "localhost" else host
    target = Target(
        url=url,
        otlp_grpc=Address.parse(otlp_grpc) if otlp_grpc else OTLP_GRPC._replace(host=host),
        otlp_http=Address.parse(otlp_http) if otlp_http else OTLP_HTTP._replace(host=host),
        db=Path(db),
        credentials=credentials,
        ingest_token=load_token("ingest", ingest_token_file, os.environ),
        timeout_seconds=wait,
    )
    results = list(examine(target))
    is_healthy = not any(each.state is State.PROBLEM for each in results)
    if json:
        document = {"ok": is_healthy, "checks": [each.model_dump(mode="json") for each in results]}
        terminal.write(jsons.dumps(document, indent=2) + "\n")
    else:
        terminal.show(Group(*(line for each in results for line in _lines(each))))
    raise typer.Exit(exit_codes.DONE if is_healthy else PROBLEM_FOUND)


def _lines(result: Result) -> list[Text]:
    mark, color = STATE_MARKS[result.state]
    lines = [Text.assemble((f"{mark} ", color), safe_text.line(f"{result.check}: {result.text}"))]
    return [*lines, Text(f"  {safe_text.line(result.advice)}", "bold")] if result.advice else lines
