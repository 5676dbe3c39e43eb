"""The command `forget`, put together: of a database at rest it needs the store and what makes summaries."""

from pathlib import Path

from sagascope_collector.cli import forget as cli
from sagascope_collector.client import schemas
from sagascope_collector.erasure import Eraser
from sagascope_collector.rebuild import caught_up
from sagascope_collector.storage import Storage


def _at_rest(db: Path, asked: schemas.Forget, really: bool) -> schemas.Forgotten:
    storage = Storage(str(db))
    try:
        caught_up(storage)
        eraser = Eraser(storage)
        return eraser.forget(asked) if really else eraser.preview(asked)
    finally:
        storage.close()


forget = cli.command(_at_rest)
"""The ``forget`` command."""
