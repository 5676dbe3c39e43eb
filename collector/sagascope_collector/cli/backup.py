"""The commands `backup` and `restore`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import backups, safe_text
from sagascope_collector.cli.connection import Url, with_credentials
from sagascope_collector.client import DEFAULT_URL, Client, Credentials
from sagascope_collector.storage.migrate import Contents

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
AtRest = Annotated[
    Path | None,
    typer.Option(
        "--db", metavar="PATH", exists=True, dir_okay=False, help="A database at rest, instead of a collector."
    ),
]
Database = Annotated[Path, typer.Option("--db", metavar="PATH", help="The database that is made.")]


@with_credentials
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Where to; an older one is replaced.")],
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    db: AtRest = None,
) -> None:
    """Write all that is stored to one file.

    The collector goes on meanwhile; what it has acknowledged by now is in it. The file is read again before it takes
    the place of an older one.
    """
    _tell(file, _of_database(db, file) if db else _of_collector(url, credentials, file), "holds")


def _of_collector(url: str, credentials: Credentials, file: Path) -> Contents:
    with Client(url, timeout=120.0, credentials=credentials) as client:
        contents = backups.save(client.backup(), file)
        client.note_backup(str(file.resolve()))
        return contents


def _of_database(db: Path, file: Path) -> Contents:
    from sagascope_collector.storage import Storage

    storage = Storage(str(db))
    try:
        storage.backups.note(str(file.resolve()))
        with storage.backups.copied() as copy:
            return backups.save(backups.pieces(copy), file)
    finally:
        storage.close()


def restore(file: File, db: Database = Path("sagascope.duckdb")) -> None:
    """Put a backup back as a database.

    FILE is what `backup` wrote. Nothing is replaced: move away what is there.
    """
    _tell(file, backups.restore(file, db), "is intact; it holds")
    typer.echo(f"Restored to {safe_text.line(str(db))}.")


def _tell(file: Path, contents: Contents, verb: str) -> None:
    latest = (
        f", the last of {datetime.fromtimestamp(contents.latest // 10**9, UTC):%Y-%m-%d %H:%M:%S}Z"
        if contents.latest
        else ""
    )
    typer.echo(f"{safe_text.line(str(file))} {verb} {contents.records:,} records{latest}; {contents.bytes:,} bytes.")
