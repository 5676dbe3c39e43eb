"""The commands `import` and `export`: files of telemetry."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress as ProgressBars,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sagascope_collector import backups, safe_text
from sagascope_collector.archives import FileReport, Progress, Report, Sender, send_files
from sagascope_collector.cli import render, sagas, terminal
from sagascope_collector.cli.options import (
    Json,
    OtlpHttp,
    StoppedDatabase,
    Url,
    flag,
    otlp_http_url,
    with_client,
    with_credentials,
)
from sagascope_collector.cli.sagas import Environment, Name, Run
from sagascope_collector.client import DEFAULT_URL, Client, Credentials, schemas
from sagascope_collector.durations import to_nanoseconds
from sagascope_collector.errors import BadValue

MAX_PRINTED_PROBLEMS: Final = 10
"""Problems of one file that are printed; ``--json`` lists more."""

INCOMPLETE: Final = 1
"""The exit status if not everything in the files was imported."""

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells define it."""

TIME_FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
"""Both in UTC."""

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, readable=True, help="The files to send.")
]


@with_credentials
def import_files(
    files: Files, credentials: Credentials, url: Url = DEFAULT_URL, otlp_http: OtlpHttp = None, json: Json = False
) -> None:
    """Send files of telemetry to a collector.

    Reads what the OpenTelemetry Collector's file exporter writes: OTLP in JSON or protobuf; plain, or compressed with
    gzip or zstd. Also reads traces as the query APIs and user interfaces of Tempo and Jaeger save them. The collector
    stores repeated requests once: after Ctrl-C, or if the collector was unreachable for too long, run the same command
    again. The token must permit sending.

    What was refused or cannot be read is listed by file and line, and does not keep the rest from being imported. Exit
    status 1: not everything in the files was imported.
    """
    destination = otlp_http_url(url, otlp_http, credentials)
    with Sender(destination, credentials) as sender, _progress(files, json) as progress:
        report = list(send_files(files, sender, progress))[-1]
    if json:
        terminal.print_json(report.as_json())
    if report.stopped:
        typer.echo(f"Stopped: {safe_text.line(report.stopped)}\nRun the same command again to continue.", err=True)
    raise typer.Exit(_status(report))


def _status(report: Report) -> int:
    if report.interrupted:
        return INTERRUPTED
    if report.stopped:
        return terminal.NOT_DONE
    return terminal.DONE if report.ok else INCOMPLETE


@contextmanager
def _progress(files: list[Path], json: bool) -> Iterator[Progress]:
    if json:
        yield Progress()
        return
    description = TextColumn("{task.description}", markup=False)
    columns: tuple[ProgressColumn, ...] = (description, BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ProgressBars(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        yield _Bars(bars, files)


class _Bars(Progress):
    """Prints the result of each file; on a terminal below it, a progress bar for each file."""

    def __init__(self, bars: ProgressBars, files: list[Path]) -> None:
        self._bars = bars
        self._tasks = {
            str(path): bars.add_task(safe_text.line(path.name, 40), total=path.stat().st_size) for path in files
        }

    def update(self, report: FileReport, read_bytes: int) -> None:
        self._bars.update(self._tasks[report.file], completed=read_bytes)

    def finish(self, report: FileReport) -> None:
        if self._bars.disable:
            terminal.write(_summary(report))
        else:
            self._bars.console.print(_summary(report).rstrip(), markup=False, highlight=False)


def _summary(report: FileReport) -> str:
    """Returns a line for a file, and one for each problem."""
    counts = report.as_json()
    imported = f"{_counted(counts['spans'], 'span')} and {_counted(counts['log_records'], 'log record')} imported"
    refused = ", ".join(
        _counted(count, what) for what in ("request", "record") if (count := counts[f"refused_{what}s"])
    )
    lines = [f"{safe_text.line(report.file)}: {imported}{f'; refused: {refused}' if refused else ''}"]
    if counts["metrics_ignored"]:
        lines.append(f"  {_counted(counts['metrics_ignored'], 'metric')} ignored: Sagascope does not store metrics.")
    for each in report.problems[:MAX_PRINTED_PROBLEMS]:
        what = "not imported" if each.records is None else f"{_counted(each.records, 'record')} rejected"
        lines.append(f"  line {each.number:,}: {what}: {safe_text.line(each.reason, 300)}")
    omitted = report.problem_count - min(len(report.problems), MAX_PRINTED_PROBLEMS)
    if omitted:
        lines.append(f"  {omitted:,} more problems; --json lists up to 100 of a file.")
    if not report.finished:
        lines.append("  The file was not read to its end.")
    if report.truncated:
        lines.append("  The file is truncated; it may still be being written.")
    return "\n".join(lines) + "\n"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _time(name: str, text: str) -> Any:
    return flag(name, text, "TIME", envvar=None, formats=TIME_FORMATS)


@with_client
def export(
    client: Client,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The transaction's id.")] = None,  # noqa: A002
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            envvar="SAGASCOPE_OUTPUT",
            metavar="FILE",
            dir_okay=False,
            help="The file to write. Default: standard output.",
        ),
    ] = None,
    parquet: Annotated[
        Path | None, flag("parquet", "Export everything as Parquet, by day, to a new folder.", "FOLDER", envvar=None)
    ] = None,
    since: Annotated[
        datetime | None, _time("since", "With --parquet: only records that started then or later.")
    ] = None,
    until: Annotated[datetime | None, _time("until", "With --parquet: only records that started earlier.")] = None,
    db: StoppedDatabase = None,
    name: Name = None,
    run: Run = None,
    environment: Environment = None,
) -> None:
    """Export the telemetry of one transaction or, with --parquet, all telemetry.

    A transaction is written as OTLP JSON, one request a line, without loss; `import` and any OpenTelemetry Collector
    can read it. If several transactions have the id, they are listed on standard error; --name, --run and --environment
    select one. Exit status 1: no transaction has the id.

    With --parquet, spans and log records are written to a new folder, by day. The collector keeps running.
    """
    if (id is None) is (parquet is None):
        raise BadValue("Give either the id of a transaction or --parquet FOLDER.")
    if id is not None and (since or until or db):
        raise BadValue("--since, --until and --db are for --parquet.")
    if parquet is not None and (output or name or run or environment):
        raise BadValue(
            "--output, --name, --run and --environment are for one transaction; --parquet exports everything."
        )
    if parquet is not None:
        written = _export_parquet(client, db, parquet, since, until)
        typer.echo(f"{safe_text.line(str(parquet))} has {written:,} records.")
    elif id is not None:
        saga = _select(client, id, name, run, environment)
        parts = client.export(saga.name, saga.id, environment=saga.environment, run=saga.run)
        if output is None:
            sys.stdout.buffer.writelines(parts)
            sys.stdout.buffer.flush()
        else:
            _write(parts, output)


def _select(
    client: Client, query: str, name: str | None, run: str | None, environment: str | None
) -> schemas.SagaSummary:
    matches = sagas.matching_sagas(client, query, name, run, environment)
    if len(matches) > 1:
        typer.echo("Several transactions have that id; select one with --name, --run or --environment:", err=True)
        typer.echo(terminal.text(render.listing(matches, terminal.now())), err=True, nl=False)
        raise typer.Exit(2)
    return matches[0]


def _write(parts: Iterable[bytes], path: Path) -> None:
    """Writes a complete file, or leaves an existing one unchanged."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with backups.create(temporary) as file:
            file.writelines(parts)
        temporary.replace(path)
    except OSError as error:
        raise BadValue(f"{safe_text.line(str(path))} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _export_parquet(
    client: Client, db: Path | None, folder: Path, since: datetime | None, until: datetime | None
) -> int:
    from sagascope_collector.archives.exports import MAX_TIMESTAMP_NS, export_parquet
    from sagascope_collector.storage import Storage

    start = 0 if since is None else to_nanoseconds(since)
    end = MAX_TIMESTAMP_NS if until is None else to_nanoseconds(until)
    with _database(client, db, folder) as path, closing(Storage(str(path))) as storage:
        return export_parquet(storage, folder, start, end)


@contextmanager
def _database(client: Client, db: Path | None, folder: Path) -> Iterator[Path]:
    """Yields the database, or a copy of the collector's beside the folder."""
    if db is not None:
        yield db
        return
    with TemporaryDirectory(prefix=".sagascope-", dir=folder.absolute().parent) as name:
        copy = Path(name) / "copy.duckdb"
        backups.save(client.backup(), copy)
        yield copy
