"""The commands `doctor`, `conformance` and `alerts`, which check a collector, an emitter and an alerts file."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from sagascope_collector import config_file, safe_text
from sagascope_collector.alerting import Alerts, NotDelivered, Receiver, send_test
from sagascope_collector.cli import terminal
from sagascope_collector.cli.options import Json, Url, flag, setting, with_credentials
from sagascope_collector.client import DEFAULT_URL, Client, ClientError, OtlpPorts
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.conformance import CheckResult, Level, Report, ServiceGaps, Verdict, evaluate
from sagascope_collector.conformance.capture import ListenOptions, capture_from_files, capture_from_ports
from sagascope_collector.doctor import Result, State, Target, examine
from sagascope_collector.errors import BadValue
from sagascope_collector.http_server.access import load_token
from sagascope_collector.settings import DEFAULT_DB, OTLP_GRPC, OTLP_HTTP, Address

CHECK_FAILED: Final = 1
"""The exit status if a check failed, or if there was nothing to check."""

STATE_MARKS: Final = {
    State.OK: ("✓", "green"),
    State.WARNING: ("~", "yellow"),
    State.PROBLEM: ("✗", "red"),
    State.SKIPPED: ("·", "dim"),
}


@with_credentials
def doctor(
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    otlp_grpc: Annotated[
        str | None, flag("otlp-grpc", "Address for OTLP over gRPC. Default: the one that the API reports.", "HOST:PORT")
    ] = None,
    otlp_http: Annotated[
        str | None, flag("otlp-http", "Address for OTLP over HTTP. Default: the one that the API reports.", "HOST:PORT")
    ] = None,
    db: Annotated[str, setting("db")] = DEFAULT_DB,
    ingest_token_file: Annotated[Path | None, setting("ingest_token_file")] = None,
    wait: Annotated[float, flag("wait", "Timeout of one answer.", "SECONDS", min=0.1)] = 5.0,
    json: Json = False,
) -> None:
    """Check a collector and the path of telemetry into it.

    Checks the ports, the disk, the database and the clocks, sends a test span over gRPC and over HTTP, and reads both
    back. The test spans belong to completed sagas of the reserved name and environment sagascope.doctor. Exit status 0:
    no problem was found. Exit status 1: a problem was found.
    """
    host = urlsplit(url).hostname or OTLP_HTTP.host
    host = OTLP_HTTP.host if host == "localhost" else host
    ports = _otlp_ports(url, credentials, wait)
    target = Target(
        url=url,
        otlp_grpc=Address.parse(otlp_grpc) if otlp_grpc else Address(host, ports.grpc or OTLP_GRPC.port),
        otlp_http=Address.parse(otlp_http) if otlp_http else Address(host, ports.http or OTLP_HTTP.port),
        db=Path(db),
        credentials=credentials,
        ingest_token=load_token("ingest", ingest_token_file, os.environ),
        timeout_seconds=wait,
    )
    results = list(examine(target))
    is_healthy = not any(each.state is State.PROBLEM for each in results)
    if json:
        terminal.print_json({"ok": is_healthy, "checks": [each.model_dump(mode="json") for each in results]})
    else:
        terminal.show(Group(*(line for each in results for line in _result(each))))
    raise typer.Exit(terminal.DONE if is_healthy else CHECK_FAILED)


def _otlp_ports(url: str, credentials: Credentials, timeout: float) -> OtlpPorts:
    try:
        with Client(url, credentials=credentials, timeout=timeout) as client:
            return client.otlp_ports()
    except ClientError:  # a check reports it
        return OtlpPorts()


def _result(result: Result) -> list[Text]:
    mark, color = STATE_MARKS[result.state]
    lines = [Text.assemble((f"{mark} ", color), safe_text.line(f"{result.check}: {result.text}"))]
    return [*lines, Text(f"  {safe_text.line(result.advice)}", "bold")] if result.advice else lines


MAX_EXAMPLE_CHARACTERS: Final = 400

VERDICT_MARKS: Final = {Verdict.PASSED: ("✓", "green"), Verdict.FAILED: ("✗", "red"), Verdict.NOT_SEEN: ("·", "dim")}

CONFIDENCE_COLORS: Final = {"certain": "green", "likely": "cyan", "possible": "yellow", "never": "red"}

LEVEL_SUMMARIES: Final = {
    Level.NOTHING: "No telemetry of a saga was received.",
    Level.ENDS: "It reports ends only: hung and killed work is not visible.",
    Level.STARTS: "It reports starts and ends: hung work is visible, but not whether its process is alive.",
    Level.HEARTBEATS: "It reports starts, ends and heartbeats: hung and killed work can be told apart.",
}


def conformance(
    otlp_grpc: Annotated[str, flag("otlp-grpc", "Address for OTLP over gRPC.", "HOST:PORT")] = str(OTLP_GRPC),
    otlp_http: Annotated[str, flag("otlp-http", "Address for OTLP over HTTP.", "HOST:PORT")] = str(OTLP_HTTP),
    seconds: Annotated[float | None, flag("for", "Listen for this long.", "SECONDS", min=0.1)] = None,
    quiet: Annotated[
        float | None,
        flag(
            "quiet", "Stop when no telemetry was received for this long after the latest request.", "SECONDS", min=0.1
        ),
    ] = None,
    grace: Annotated[
        float, flag("grace", "Transport delay that checks of timeliness tolerate.", "SECONDS", min=0.0)
    ] = 1.0,
    file: Annotated[
        list[Path] | None, flag("file", "Check a file of OTLP JSON lines instead. Can be repeated.", "PATH")
    ] = None,
    json: Json = False,
) -> None:
    """Check an emitter's telemetry against the contract.

    Receives telemetry until Ctrl-C and stores nothing. Reports which requirements of docs/semconv.md the emitter
    meets, how to fix the others, which attention codes its telemetry supports, and for each service what it cannot
    prove yet, with the two lines of code that change it. Exit status 0: no check failed.
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
    terminal.print_json(report) if json else terminal.show(_rendered(report))
    raise typer.Exit(terminal.DONE if report.conformant else CHECK_FAILED)


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


def _point(point: CheckResult) -> list[Text]:
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
    services = [line for each in report.services for line in _gaps(each)]
    return [Text("Supported attention codes", "bold"), Text(LEVEL_SUMMARIES[report.level]), *claims, *services]


def _gaps(service: ServiceGaps) -> list[Text]:
    name = safe_text.line(service.service, MAX_EXAMPLE_CHARACTERS)
    if not service.gaps:
        return [Text(), Text(f"{name} can prove everything that applies to it.", "bold")]
    lines = [Text(), Text(f"What {name} cannot prove yet", "bold")]
    for gap in service.gaps:
        lines.append(Text(f"{', '.join(gap.attention)}: {gap.why}. With these two lines it can:"))
        lines += [Text(f"    {safe_text.line(line, MAX_EXAMPLE_CHARACTERS)}", "cyan") for line in gap.lines]
    return lines


class Action(StrEnum):
    """The actions on an alerts file."""

    TEST = "test"
    CHECK = "check"


def alerts(
    action: Annotated[Action, typer.Argument(help="test: send a test to every receiver. check: only read the file.")],
    file: Annotated[Path, flag("alerts", "The file of receivers and rules.", "FILE")],
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
    delivered = [_send_test(receiver) for receiver in known.receivers]
    raise typer.Exit(terminal.DONE if all(delivered) else CHECK_FAILED)


def _send_test(receiver: Receiver) -> bool:
    """Sends a test and prints the outcome; returns whether it was delivered."""
    try:
        send_test(receiver, os.environ)
    except NotDelivered as error:
        typer.echo(f"{safe_text.line(receiver.name)}: not delivered: {error}.", err=True)
        return False
    typer.echo(f"{safe_text.line(receiver.name)}: delivered.")
    return True
