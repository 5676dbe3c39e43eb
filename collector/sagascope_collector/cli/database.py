"""The commands for a whole database: `backup`, `restore`, `rebuild`, `migrate`, `mapping`, `remap` and `forget`."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sagascope_collector import backups, safe_text
from sagascope_collector.backups import Contents
from sagascope_collector.cli import terminal
from sagascope_collector.cli.options import (
    Json,
    StoppedDatabase,
    Url,
    flag,
    lake_of,
    setting,
    with_client,
    with_credentials,
)
from sagascope_collector.cli.terminal import NOT_FOUND
from sagascope_collector.client import DEFAULT_URL, Client, Credentials, schemas
from sagascope_collector.durations import to_datetime
from sagascope_collector.errors import BadValue
from sagascope_collector.settings import DEFAULT_DB

if TYPE_CHECKING:
    from sagascope_collector.projection import Projection
    from sagascope_collector.storage import Storage

BATCH_SAGAS: Final = 1_000
"""Number of sagas that are summarized at a time."""

BACKUP_TIMEOUT_SECONDS: Final = 120.0

FORGET_TIMEOUT_SECONDS: Final = 3_600.0

REMAP_POLL_SECONDS: Final = 0.5


@with_credentials
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="The backup. Replaces an older one.")],
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    db: StoppedDatabase = None,
) -> None:
    """Write a backup of the whole database to one file.

    The collector keeps running; the backup has everything that was acknowledged before. The command verifies the file
    before it replaces an older one.
    """
    contents = _back_up_database(db, file) if db else _back_up_collector(url, credentials, file)
    typer.echo(_summary(file, contents, "has"))


def _back_up_collector(url: str, credentials: Credentials, file: Path) -> Contents:
    with Client(url, timeout=BACKUP_TIMEOUT_SECONDS, credentials=credentials) as client:
        contents = backups.save(client.backup(), file)
        client.note_backup(str(file.resolve()))
        return contents


def _back_up_database(db: Path, file: Path) -> Contents:
    from sagascope_collector.storage import Storage

    with closing(Storage(str(db))) as storage:
        storage.backups.note(str(file.resolve()))
        with storage.backups.copied() as copy:
            return backups.save(backups.pieces(copy), file)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    db: Annotated[Path, flag("db", "The database to create.", "PATH", envvar=None)] = Path(DEFAULT_DB),
) -> None:
    """Create a database from a backup.

    FILE is what `backup` wrote. Existing files are not replaced: move them away first.
    """
    typer.echo(_summary(file, backups.restore(file, db), "is intact; it has"))
    typer.echo(f"Restored to {safe_text.line(str(db))}.")


def _summary(file: Path, contents: Contents, verb: str) -> str:
    latest = ""
    if contents.latest:
        at = to_datetime(contents.latest)
        latest = f", the latest of {at:%Y-%m-%d %H:%M:%S}Z"
    return f"{safe_text.line(str(file))} {verb} {contents.records:,} records{latest}; {contents.bytes:,} bytes."


def rebuild(db: Annotated[str, setting("db")] = DEFAULT_DB) -> None:
    """Recompute all summaries from the stored records.

    Lists, triage and search read summaries. Stop the collector first. The command can be interrupted and repeated.
    """
    from sagascope_collector.storage import Storage

    _require_file(db)
    with closing(Storage(db)) as storage:
        typer.echo(f"{summarize_all(storage):,} transactions were summarized.")


def _require_file(db: str) -> None:
    """Refuses a file that does not exist: opening it would create an empty database."""
    if not Path(db).is_file():
        raise BadValue(f"{db} does not exist. Name the file of a stopped collector with --db.")


def summarize_all(storage: "Storage", clock: Callable[[], int] = time.time_ns) -> int:
    """Summarizes every saga; returns their number."""
    projection = _projection(storage, clock)
    for lost in storage.lookup.unlocated():
        storage.changes.restore(lost)
    summarize_changes(storage, projection)
    return sum(projection.renew(ids) for ids in storage.lookup.ids())


def summarize_changes(storage: "Storage", projection: "Projection | None" = None) -> None:
    """Summarizes the sagas that changed after their summaries were computed."""
    projection = projection or _projection(storage, time.time_ns)
    while ids := storage.changes.claim(BATCH_SAGAS):
        projection.renew(ids)


def _projection(storage: "Storage", clock: Callable[[], int]) -> "Projection":
    from sagascope_collector import analysis, projection
    from sagascope_collector.api import present
    from sagascope_collector.health import IngestOutages

    outages, learner = IngestOutages(storage, clock), projection.BaselineLearner(storage)

    def context(now: int) -> analysis.Context:
        return analysis.Context(
            now=now,
            ingest_outages=tuple(outages.intervals()),
            services=storage.sagas.step_services(),
            baselines=learner.baselines,
        )

    return projection.Projection(storage, summarise=present.summary, context=context, learner=learner, clock=clock)


def migrate(
    to_lake: Annotated[bool, flag("to-lake", "Move the records into the lake of --lake.", envvar=None)] = False,
    db: Annotated[str, setting("db")] = DEFAULT_DB,
    lake: Annotated[str | None, setting("lake")] = None,
    lake_data: Annotated[str | None, setting("lake_data")] = None,
    s3_endpoint: Annotated[str | None, setting("s3_endpoint")] = None,
) -> None:
    """Move the records of a database file into a lake.

    Stop the collector first. The lake may have records already. The command can be interrupted and repeated: each
    record is moved once. The file stays as it is; docs/scale.md says what to start then.
    """
    from sagascope_collector.storage import Storage

    if not to_lake:
        raise typer.BadParameter("write --to-lake: a lake is the only destination.")
    _require_file(db)
    target = lake_of(lake, lake_data, s3_endpoint)
    from sagascope_collector.lake import Transfer

    with closing(Storage(db)) as storage:
        transfer = Transfer(storage, target)
        target.create()
        moved = transfer.run(lambda done: typer.echo(f"\r{done:,} records", nl=False, err=True))
        typer.echo(f"\n{moved:,} spans and log records were moved." if moved else "Everything is in the lake already.")


mapping = typer.Typer(no_args_is_help=True)


@mapping.callback()
def _mapping() -> None:
    """Suggest rules for spans that belong to no transaction.

    docs/engines/attribute-mapping.md describes the rules, and what they make of the spans of a trace.
    """


@mapping.command()
@with_client
def suggest(client: Client, json: Json = False) -> None:
    """Suggest rules for spans that belong to no transaction.

    Looks at the attributes of the newest 100,000 records. Attributes that join several services come first, ids of
    requests, sessions and people last. Paste a rule into the file of serve --mapping, and run remap. Exit status 1:
    nothing was found.
    """
    found = client.suggestions()
    if json:
        terminal.print_json(found)
    else:
        typer.echo(f"{found.unassigned:,} of the newest {found.spans:,} spans belong to no transaction.")
        for each in found.items:
            typer.echo(_suggestion(each))
        if found.items:
            typer.echo("\nWrite the rule that fits to the file of serve --mapping; then: sagascope remap")
    raise typer.Exit(terminal.DONE if found.items else NOT_FOUND)


def _suggestion(each: schemas.Suggestion) -> str:
    services = "1 service" if each.services == 1 else f"{each.services:,} services"
    doubt = "" if each.is_likely else "; rather the id of a request, a person or a thing"
    values = "1 value" if each.values == 1 else f"{each.values:,} values"
    traces = "1 trace" if each.traces == 1 else f"{each.traces:,} traces"
    title = f"# {each.attribute}: {values} on {services} in {traces}, such as {each.example}{doubt}"
    return "\n".join(["", *map(safe_text.line, (title, *each.rule.splitlines()))])


@with_client
def remap(
    client: Client,
    no_wait: Annotated[bool, flag("no-wait", "Do not wait until all stored records are mapped.", envvar=None)] = False,
    json: Json = False,
) -> None:
    """Apply the mapping file to everything that is stored.

    The collector, which runs with serve --mapping, reads the file again. From then on its rules hold for what is
    received, and in the background for stored records, in the order of their receipt. Ctrl-C only ends the waiting. A
    collector that is stopped meanwhile continues at its next start.
    """
    state = client.remap()
    while state.is_running and not no_wait:
        time.sleep(REMAP_POLL_SECONDS)
        state = client.remapping()
        typer.echo(f"\r{state.mapped:,} of {state.records:,} records", nl=not state.is_running, err=True)
    if json:
        terminal.print_json(state)
    elif state.is_running:
        typer.echo("Stored records are being mapped in the background; GET /api/v1/remap shows the progress.")
    elif not state.has_rules:
        typer.echo("The mapping file has no rules: stored records stay as they are.")
    else:
        typer.echo("All stored records are mapped by the rules of the file.")


@with_credentials
def forget(
    key: Annotated[
        str, flag("key", "A business key and its value, for example customer=4711.", "NAME=VALUE", envvar=None)
    ],
    credentials: Credentials,
    yes: Annotated[bool, flag("yes", "Delete them. This is irreversible.", envvar=None)] = False,
    environment: Annotated[
        str | None, flag("environment", "Only in this environment. Default: in all.", "NAME", envvar=None)
    ] = None,
    url: Url = DEFAULT_URL,
    db: StoppedDatabase = None,
    json: Json = False,
) -> None:
    """Erase all data of transactions with a business key.

    Deletes every transaction with this key, and everything on disk that was stored of it.

    Without --yes, the command only lists what it would delete. It does not change backups, but lists those that may
    contain the data. Exit status 1: no transaction has this key.
    """
    name, sign, value = key.partition("=")
    if not (name and sign and value):
        raise typer.BadParameter("write --key NAME=VALUE, for example customer=4711.")
    request = schemas.ErasureRequest(key=name, value=value, environment=environment)
    result = _erase_in_database(db, request, yes) if db else _erase_in_collector(url, credentials, request, yes)
    if json:
        terminal.print_json(result)
    else:
        _print_erasure(result, key)
    if not result.sagas:
        raise typer.Exit(NOT_FOUND)


def _erase_in_collector(
    url: str, credentials: Credentials, request: schemas.ErasureRequest, is_confirmed: bool
) -> schemas.ErasureResult:
    with Client(url, timeout=FORGET_TIMEOUT_SECONDS, credentials=credentials) as client:
        return client.erase(request) if is_confirmed else client.preview_erasure(request)


def _erase_in_database(db: Path, request: schemas.ErasureRequest, is_confirmed: bool) -> schemas.ErasureResult:
    from sagascope_collector.api.database import Eraser
    from sagascope_collector.storage import Storage

    with closing(Storage(str(db))) as storage:
        if storage.follows_lake:
            raise BadValue(f"{db} is a copy of a lake. Erase in the lake, with --url and a running collector.")
        summarize_changes(storage)  # the eraser finds sagas by their summaries
        eraser = Eraser(storage)
        return eraser.erase(request) if is_confirmed else eraser.preview(request)


def _print_erasure(result: schemas.ErasureResult, key: str) -> None:
    if not result.sagas:
        typer.echo(f"No transaction has {safe_text.line(key)}.")
        return
    for each in result.items:
        environment = f" in {safe_text.line(each.environment)}" if each.environment else ""
        typer.echo(f"  {safe_text.line(each.name)} {safe_text.line(each.id)} ({each.status}){environment}")
    if result.sagas > len(result.items):
        typer.echo(f"  and {result.sagas - len(result.items):,} more")
    subject = f"{result.sagas:,} transactions" if result.sagas != 1 else "One transaction"
    if result.records is None:
        typer.echo(f"{subject} would be removed. Nothing was changed; add --yes to remove them.")
    else:
        verb = "were" if result.sagas != 1 else "was"
        typer.echo(f"{subject} {verb} removed, with {result.records:,} spans and log records.")
    if result.backups:
        typer.echo("These backups may contain the data, and were not changed:")
        for path in result.backups:
            typer.echo(f"  {safe_text.line(path)}")
