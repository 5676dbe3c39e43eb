"""What came of an import."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sagascope_collector.archives.signals import Kind

LISTED: int = 100
"""Refusals of one file that are told one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line, or a message, of which something was not taken."""

    line: int
    reason: str
    records: int | None
    """How many of its records; None: the whole of it, unread."""


@dataclass(slots=True)
class FileReport:
    """What came of one file. Times sent again count once."""

    file: str
    requests: int = 0
    """Lines or messages that the collector took, with what it refused of them."""
    sent: Counter[Kind] = field(default_factory=Counter)
    """Records by kind, those refused among them."""
    refused: list[Refusal] = field(default_factory=list)
    refusals: int = 0
    """How many there were."""
    refused_requests: int = 0
    refused_records: int = 0
    cut_off: bool = False
    """Its end is missing: it was still written to, or was damaged."""
    finished: bool = False
    """It was read to its end, and everything was answered."""

    def refuse(self, refusal: Refusal) -> None:
        """Count a refusal, and keep it while there are few."""
        self.refusals += 1
        self.refused_requests += refusal.records is None
        self.refused_records += refusal.records or 0
        if len(self.refused) < LISTED:
            self.refused.append(refusal)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "file": self.file,
            "requests": self.requests,
            "spans": self.sent[Kind.SPANS],
            "log_records": self.sent[Kind.LOG_RECORDS],
            "metrics_ignored": self.sent[Kind.METRICS],
            "refused_requests": self.refused_requests,
            "refused_records": self.refused_records,
            "refused": [{"line": each.line, "reason": each.reason, "records": each.records} for each in self.refused],
            "cut_off": self.cut_off,
            "finished": self.finished,
        }


@dataclass(slots=True)
class Report:
    """What came of all files."""

    files: list[FileReport] = field(default_factory=list)
    stopped: str | None = None
    """Why it ended early."""
    interrupted: bool = False
    """It was by Ctrl-C."""

    @property
    def ok(self) -> bool:
        """Whether everything that was there was taken."""
        return self.stopped is None and not any(each.refused for each in self.files)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        totals = ("requests", "spans", "log_records", "metrics_ignored", "refused_requests", "refused_records")
        files = [each.as_json() for each in self.files]
        return {
            "ok": self.ok,
            "stopped": self.stopped,
            **{name: sum(each[name] for each in files) for name in totals},
            "files": files,
        }
