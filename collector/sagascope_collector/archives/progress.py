"""How far an import is, for whoever shows it."""

from typing import Protocol

from sagascope_collector.archives.reports import FileReport


class Progress(Protocol):
    """Is told how far an import is."""

    def at(self, report: FileReport, read: int) -> None:
        """So many bytes of this file are read, compressed as it is."""
        ...

    def done(self, report: FileReport) -> None:
        """This file is finished."""
        ...
