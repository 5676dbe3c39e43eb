"""The command `conformance`."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import exit_codes, terminal
from sagascope_collector.conformance import Level, Point, Report, Verdict, evaluate
from sagascope_collector.conformance.listener import ListenOptions, capture_from_files, capture_from_ports
from sagascope_collector.errors import BadValue
from sagascope_collector.settings import OTLP_GRPC, OTLP_HTTP, Address

MAX_EXAMPLE_CHARACTERS: Final = 400

NOT_CONFORMANT: Final = 1
"""The exit status if a check failed, or no telemetry of a saga was received."""

VERDICT_MARKS: Final = {Verdict.PASSED: ("✓", "green"), Verdict.FAILED: ("✗", "red"), Verdict.NOT_SEEN: ("·", "dim")}

CONFIDENCE_COLORS: Final = {"certain": "green", "likely": "cyan", "possible": "yellow", "never": "red"}

LEVEL_SUMMARIES: Final = {
    Level.NOTHING: "No telemetry of a saga was received.",
    Level.ENDS: "It reports ends only: hung and killed work is not visible.",
    Level.STARTS: "It reports starts and ends: hung work is visible, but not whether its process is alive.",
    Level.HEARTBEATS: "It reports starts, ends and heartbeats: hung and killed work can be told apart.",
}

OtlpGrpc = Annotated[
    str,
    typer.Option("--otlp-grpc", envvar="SAGASCOPE_OTLP_GRPC", help="Address for OTLP over gRPC.", metavar="HOST:PORT"),
]
OtlpHttp = Annotated[
    str,
    typer.Option("--otlp-http", envvar="SAGASCOPE_OTLP_HTTP", help="Address for OTLP over HTTP.", metavar="HOST:PORT"),
]
For = Annotated[
    float | None,
    typer.Option("--for", envvar="SAGASCOPE_FOR", help="Listen for this long.", metavar="SECONDS", min=0.1),
]
Quiet = Annotated[
    float | None,
    typer.Option(
        "--quiet",
        envvar="SAGASCOPE_QUIET",
        help="Stop when no telemetry was received for this long after the latest request.",
        metavar="SECONDS",
        min=0.1,
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        envvar="SAGASCOPE_GRACE",
        help="Transport delay that checks of timeliness tolerate.",
        metavar="SECONDS",
        min=0.0,
    ),
]
File = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        envvar="SAGASCOPE_FILE",
        help="Check a file of OTLP JSON lines instead. Can be repeated.",
        metavar="PATH",
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print the report as JSON.")]


def conformance(
    otlp_grpc: OtlpGrpc = str(OTLP_GRPC),
    otlp_http: OtlpHttp = str(OTLP_HTTP),
    seconds: For = None,
    quiet: Quiet = None,
    grace: Grace = 1.0,
    file: File = None,
    json: Json = False,
) -> None:
    """Check an emitter's telemetry against the contract.

    Receives telemetry until Ctrl-C and stores nothing. Reports which requirements of docs/semconv.md the emitter
    meets, how to fix the others, and which attention codes its telemetry supports. Exit status 0: no check failed.
    Exit status 1: a check failed, or no telemetry of a transaction was received.
    """
    if file and (seconds is not None or quiet is not None):
        raise BadValue("--for and --quiet cannot be used with --file.")
    if file:
        capture = capture_from_files(file, grace)
    else:
        options = ListenOptions(Address.parse(otlp_grpc), Address.parse(otlp_http), seconds, quiet, grace)
        capture = capture_from_ports(options, _announce)
    report = evaluate(capture)
    terminal.write(report.model_dump_json(indent=2) + "\n") if json else terminal.show(_rendered(report))
    raise typer.Exit(exit_codes.DONE if report.conformant else NOT_CONFORMANT)


def _announce(otlp_grpc: str, otlp_http: str) -> None:
    typer.echo("Listening. Send telemetry of a transaction, then press Ctrl-C.", err=True)
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
    seen = [each for each in report.points if each.verdict is not Verdict.NOT_SEEN]
    failed = sum(each.verdict is Verdict.FAILED for each in seen)
    verdict = "conformant" if report.conformant else "not conformant"
    counts = f"{report.spans:,} spans, {report.logs:,} log records, {report.sagas:,} transactions"
    checks = f"{len(seen) - failed} checks passed, {failed} failed, {len(report.points) - len(seen)} not applicable"
    return Text.assemble((verdict, "bold green" if report.conformant else "bold red"), f": {checks} ({counts})")


def _point(point: Point) -> list[Text]:
    mark, color = VERDICT_MARKS[point.verdict]
    lines = [Text.assemble((f"{mark} ", color), (point.requirement, "dim" if color == "dim" else ""))]
    if point.verdict is Verdict.FAILED:
        example = safe_text.line(f"{point.example}: {point.reason}", MAX_EXAMPLE_CHARACTERS)
        lines += [Text(f"    {point.wrong:,} of {point.seen:,}: {example}", "red"), Text(f"    {point.fix}")]
    return lines


def _claims(report: Report) -> list[Text]:
    claims = [
        Text.assemble((f"{each.confidence:9}", CONFIDENCE_COLORS[each.confidence]), f" {each.attention}: {each.why}")
        for each in report.claims
    ]
    return [Text("Supported attention codes", "bold"), Text(LEVEL_SUMMARIES[report.level]), *claims]
