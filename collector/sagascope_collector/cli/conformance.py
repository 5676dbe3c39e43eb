"""The options of `sagascope conformance`, and what it prints."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import exit_codes, terminal
from sagascope_collector.conformance import Heard, Point, Report, Verdict, judge
from sagascope_collector.errors import BadValue
from sagascope_collector.settings import OTLP_GRPC, OTLP_HTTP, Address

NOT_CONFORMANT: int = 1
"""The exit status where a point failed, or nothing of a saga came."""

MARKS = {Verdict.PASSED: ("✓", "green"), Verdict.FAILED: ("✗", "red"), Verdict.NOT_SEEN: ("·", "dim")}

COLOURS = {"certain": "green", "likely": "cyan", "possible": "yellow", "never": "red"}

LEVELS = {
    "nothing": "Nothing of any saga came.",
    "ends": "It tells of ends only: what hangs or was killed is not seen.",
    "starts": "It tells of ends and starts: what hangs is seen, and not whether its process lives.",
    "heartbeats": "It tells of ends, starts and heartbeats: what hangs is told from what was killed.",
}


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, and until when."""

    otlp_grpc: Address
    otlp_http: Address
    seconds: float | None
    quiet: float | None
    grace: float
    files: tuple[Path, ...]


Announce = Callable[[str, str], None]
"""Told once, when both ports listen: gRPC's address and HTTP's."""

Hear = Callable[[Listening, Announce], Heard]

OtlpGrpc = Annotated[
    str, typer.Option("--otlp-grpc", envvar="SAGASCOPE_OTLP_GRPC", help="Takes OTLP over gRPC.", metavar="HOST:PORT")
]
OtlpHttp = Annotated[
    str, typer.Option("--otlp-http", envvar="SAGASCOPE_OTLP_HTTP", help="Takes OTLP over HTTP.", metavar="HOST:PORT")
]
For = Annotated[
    float | None,
    typer.Option("--for", envvar="SAGASCOPE_FOR", help="Listen for so long.", metavar="SECONDS", min=0.1),
]
Quiet = Annotated[
    float | None,
    typer.Option(
        "--quiet",
        envvar="SAGASCOPE_QUIET",
        help="Listen until nothing has come for so long, after something did.",
        metavar="SECONDS",
        min=0.1,
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        envvar="SAGASCOPE_GRACE",
        help="How late something may be on its way here.",
        metavar="SECONDS",
        min=0.0,
    ),
]
File = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        envvar="SAGASCOPE_FILE",
        help="Judge OTLP JSON lines instead. May be given several times.",
        metavar="PATH",
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print the judgement as JSON.")]


def command(hear: Hear) -> Callable[..., None]:
    """The command; `hear` listens until it is told to stop."""

    def conformance(
        otlp_grpc: OtlpGrpc = str(OTLP_GRPC),
        otlp_http: OtlpHttp = str(OTLP_HTTP),
        seconds: For = None,
        quiet: Quiet = None,
        grace: Grace = 1.0,
        file: File = None,
        json: Json = False,
    ) -> None:
        """Judge an emitter's telemetry, point by point.

        Takes what it sends until Ctrl-C, stores nothing, and says which points of docs/semconv.md it keeps, what to
        mend, and what can be said of its transactions. Exit status 0: it keeps every point that was seen. Exit
        status 1: it does not, or nothing of a transaction came.
        """
        if file and (seconds is not None or quiet is not None):
            raise BadValue("--file is read at once: --for and --quiet say nothing beside it.")
        places = Address.parse(otlp_grpc), Address.parse(otlp_http)
        heard = hear(Listening(*places, seconds, quiet, grace, tuple(file or ())), _announce)
        report = judge(heard)
        terminal.write(report.model_dump_json(indent=2) + "\n") if json else terminal.show(_rendered(report))
        raise typer.Exit(exit_codes.DONE if report.conformant else NOT_CONFORMANT)

    return conformance


def _announce(otlp_grpc: str, otlp_http: str) -> None:
    typer.echo("Listening; send something of a transaction, then press Ctrl-C.", err=True)
    typer.echo(f"  OTLP over gRPC  {otlp_grpc}", err=True)
    typer.echo(f"  OTLP over HTTP  http://{otlp_http}", err=True)


def _rendered(report: Report) -> RenderableType:
    parts: list[Text] = []
    for section in dict.fromkeys(each.section for each in report.points):
        parts += [Text(), Text(section, "bold")]
        for point in (each for each in report.points if each.section == section):
            parts += _point(point)
    return Group(_title(report), *parts, Text(), *_claims(report))


def _title(report: Report) -> Text:
    judged = [each for each in report.points if each.verdict is not Verdict.NOT_SEEN]
    failed = sum(each.verdict is Verdict.FAILED for each in judged)
    said = "conformant" if report.conformant else "not conformant"
    counts = f"{report.spans:,} spans, {report.logs:,} log records, {report.sagas:,} transactions"
    unseen = len(report.points) - len(judged)
    points = f"{len(judged) - failed} points passed, {failed} failed, {unseen} not seen"
    return Text.assemble((said, "bold green" if report.conformant else "bold red"), f": {points} ({counts})")


def _point(point: Point) -> list[Text]:
    mark, colour = MARKS[point.verdict]
    lines = [Text.assemble((f"{mark} ", colour), (point.requirement, "dim" if colour == "dim" else ""))]
    if point.verdict is Verdict.FAILED:
        example = safe_text.line(f"{point.example}: {point.reason}", 400)
        lines += [Text(f"    {point.wrong:,} of {point.seen:,}: {example}", "red"), Text(f"    {point.fix}")]
    return lines


def _claims(report: Report) -> list[Text]:
    said = [
        Text.assemble((f"{each.confidence:9}", COLOURS[each.confidence]), f" {each.attention}: {each.why}")
        for each in report.claims
    ]
    return [Text("What it can prove", "bold"), Text(LEVELS[report.level]), *said]
