"""The command `import`: sends files of telemetry to a running collector."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from sagascope_collector import safe_text
from sagascope_collector.archives import FileReport, Progress, Report, Sender, send_files
from sagascope_collector.cli import exit_codes, terminal
from sagascope_collector.cli.connection import Url, with_credentials
from sagascope_collector.client import DEFAULT_URL, Client, Credentials, NotSagascope

SHOWN: int = 10
"""Refusals of one file that a person is told; ``--json`` has more."""

INTERRUPTED: int = 130
"""Exit status after Ctrl-C, as the shell has it."""

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", exists=True, dir_okay=False, readable=True, help="Files, in any of these forms."),
]
OtlpHttp = Annotated[
    str | None,
    typer.Option(
        "--otlp-http",
        envvar="SAGASCOPE_OTLP_HTTP",
        metavar="HOST:PORT",
        help="Where to send it, or a URL; else the collector of --url is asked.",
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print one JSON report only.")]


@with_credentials
def import_files(
    files: Files,
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    otlp_http: OtlpHttp = None,
    json: Json = False,
) -> None:
    """Send files of telemetry to a collector.

    They are as the OpenTelemetry Collector's file exporter writes them: JSON with one request a line, or protobuf;
    plain, or compressed with gzip or zstd. What was sent once is not stored
    twice: after Ctrl-C, or when the collector was away for too long, give the same command again. Its token is the
    one for senders. Exit status 0 also when a part was refused; it is told, by file and line.
    """
    with Sender(place_of(url, otlp_http, credentials), credentials) as sender, _shown(files, json) as progress:
        report = list(send_files(files, sender, progress))[-1]
    if json:
        terminal.write(dumps(report.as_json(), indent=2) + "\n")
    if report.stopped:
        typer.echo(f"Stopped: {safe_text.line(report.stopped)}\nGive the same command again to go on.", err=True)
    raise typer.Exit(_status(report))


def place_of(url: str, otlp_http: str | None, credentials: Credentials) -> str:
    """The URL to which OTLP is sent."""
    if otlp_http:
        return otlp_http if "://" in otlp_http else f"http://{otlp_http}"
    with Client(url, credentials=credentials) as client:
        place = client.otlp_http()
    if place is None:
        raise NotSagascope(url, f"What answers at {url} does not say where it takes OTLP; name it with --otlp-http.")
    return place


def _status(report: Report) -> int:
    """Nothing of a file that can be read is a wrong use of the command; a part of it is not."""
    if report.interrupted:
        return INTERRUPTED
    unreadable = any(each.refused_requests and not each.requests for each in report.files)
    return exit_codes.NOT_DONE if report.stopped or unreadable else exit_codes.DONE


@contextmanager
def _shown(files: list[Path], json: bool) -> Iterator[Progress]:
    if json:
        yield _Silent()
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True)) as bars:
            yield _Bars(bars, {str(path): path.stat().st_size for path in files})
    else:
        yield _Lines()


class _Silent:
    def at(self, report: FileReport, read: int) -> None:
        """Say nothing."""

    def done(self, report: FileReport) -> None:
        """Say nothing."""


class _Lines(_Silent):
    def done(self, report: FileReport) -> None:
        """Say what came of a file."""
        terminal.write(_told(report))


class _Bars:
    def __init__(self, bars: Bars, sizes: dict[str, int]) -> None:
        self._bars = bars
        self._tasks = {
            name: bars.add_task(safe_text.line(Path(name).name, 40), total=size) for name, size in sizes.items()
        }

    def at(self, report: FileReport, read: int) -> None:
        """Move the bar."""
        self._bars.update(self._tasks[report.file], completed=read)

    def done(self, report: FileReport) -> None:
        """Say what came of a file, above the bars."""
        self._bars.console.print(_told(report).rstrip(), markup=False, highlight=False)


def _told(report: FileReport) -> str:
    """What came of a file: a line, and one for each refusal."""
    sent = report.as_json()
    lines = [f"{safe_text.line(report.file)}: {sent['spans']:,} spans and {sent['log_records']:,} log records sent"]
    if sent["metrics_ignored"]:
        lines.append(f"  {sent['metrics_ignored']:,} metrics left out: Sagascope does not keep metrics.")
    for each in report.refused[:SHOWN]:
        what = "not taken" if each.records is None else f"{each.records:,} records refused"
        lines.append(f"  line {each.line:,}: {what}: {safe_text.line(each.reason, 300)}")
    left = report.refusals - min(len(report.refused), SHOWN)
    lines += [f"  and {left:,} more like these; --json tells up to 100."] if left else []
    lines += ["  Its end is cut off, as of a file that is still written to."] if report.cut_off else []
    return "\n".join(lines) + "\n"
