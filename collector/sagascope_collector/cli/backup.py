"""The commands `backup` and `restore`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import backups
from sagascope_collector.cli import plain
from sagascope_collector.cli.connection import Url, with_credentials
from sagascope_collector.client import DEFAULT_URL, Client, Credentials

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


def _of_collector(url: str, credentials: Credentials, file: Path) -> backups.Contents:
    with Client(url, timeout=120.0, credentials=credentials) as client:
        return backups.save(client.backup(str(file.resolve())), file)


def _of_database(db: Path, file: Path) -> backups.Contents:
    from sagascope_collector.store import DuckDBStore

    store = DuckDBStore(str(db))
    try:
        store.note_backup(str(file.resolve()))
        with store.copied() as parts:
            return backups.save(backups.archive(parts), file)
    finally:
        store.close()


def restore(file: File, db: Database = Path("sagascope.duckdb")) -> None:
    """Put a backup back as a database.

    FILE is what `backup` wrote, or the folder in which a database was kept before its schema changed. Nothing is
    replaced: move away what is there.
    """
    if not file.is_dir():
        _tell(file, backups.verify(file), "is sound; it holds")
    backups.restore(file, db)
    typer.echo(f"Restored to {plain.line(str(db))}; keep the folder {plain.line(str(db))}.d beside it.")


def _tell(file: Path, contents: backups.Contents, verb: str) -> None:
    size = sum(each.size for each in contents.files)
    made = datetime.fromtimestamp(contents.made_at, UTC)
    typer.echo(f"{plain.line(str(file))} {verb} {size:,} bytes of {made:%Y-%m-%d %H:%M:%S} UTC.")
