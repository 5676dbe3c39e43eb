"""The files of a store once more, in another folder: what never changes is linked, and takes no room."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sagascope_collector.store import home
from sagascope_collector.store.contract import Part

DATABASE: Final = "database"
FACTS: Final = "facts"
"""Names within a copy: of the DuckDB file, and of the folder beside it."""


def linked(folder: Path, place: Path) -> Iterator[Part]:
    """Link the files of a folder in another one."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.endswith(".tmp") and path.name not in (home.TRIAL_NAME, home.REWRITE_NAME):
            link = place / path.name
            os.link(path, link)
            yield Part(f"{FACTS}/{path.name}", link, path.stat().st_size)
