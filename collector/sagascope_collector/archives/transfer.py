"""Reads files and sends what is in them, with a bounded part of it under way at a time."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sagascope_collector.archives.progress import Progress
from sagascope_collector.archives.reading import Fault, Message, messages
from sagascope_collector.archives.reports import FileReport, Refusal, Report
from sagascope_collector.archives.sending import PATHS, Answer, Sender
from sagascope_collector.archives.signals import Kind
from sagascope_collector.errors import StoppedShort

AT_A_TIME: Final = 24
"""Requests under way: the collector commits together what waits together."""

BYTES_AT_A_TIME: Final = 32 * 1024 * 1024
"""What they may hold together, unless it is a single one."""


def send_files(files: Iterable[Path], sender: Sender, progress: Progress) -> Iterator[Report]:
    """Send files one after the other; the report grows, and is given after each.

    What was acknowledged is on disk. Sent again it is stored once, so an import that was stopped is begun anew.
    """
    report = Report()
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="sagascope-import") as pool:
        try:
            for path in files:
                report.files.append(FileReport(str(path)))
                _send_file(path, _Window(pool, sender, report.files[-1]), progress)
                yield report
        except StoppedShort as error:
            report.stopped = str(error)
        except KeyboardInterrupt:
            report.stopped, report.interrupted = "It was interrupted.", True
        finally:
            sender.stop()
            pool.shutdown(wait=True, cancel_futures=True)
    yield report


def _send_file(path: Path, window: "_Window", progress: Progress) -> None:
    report = window.report
    with path.open("rb") as raw:
        for each in messages(raw):
            window.take(each)
            progress.at(report, raw.tell())
    window.empty()
    report.finished = True
    progress.done(report)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    message: Message
    kind: Kind
    answer: Future[Answer | None]


class _Window:
    """What is under way of one file."""

    def __init__(self, pool: ThreadPoolExecutor, sender: Sender, report: FileReport) -> None:
        self.report = report
        self._pool = pool
        self._sender = sender
        self._under_way: deque[_UnderWay] = deque()
        self._bytes = 0

    def take(self, each: Message | Fault) -> None:
        """Begin to send a message; waits until there is room for it."""
        if isinstance(each, Fault):
            self.report.cut_off |= each.cut_off
            if not each.cut_off:
                self.report.refuse(Refusal(each.number, each.reason, None))
            return
        self.report.sent.update(each.counts)
        for kind in each.counts:
            if kind in PATHS:
                self._make_room(len(each.body))
                self._under_way.append(_UnderWay(each, kind, self._pool.submit(self._sender.send, each, kind)))
                self._bytes += len(each.body)

    def empty(self) -> None:
        """Wait for every answer."""
        while self._under_way:
            self._finish()

    def _make_room(self, size: int) -> None:
        while self._under_way and (len(self._under_way) >= AT_A_TIME or self._bytes + size > BYTES_AT_A_TIME):
            self._finish()

    def _finish(self) -> None:
        done = self._under_way.popleft()
        self._bytes -= len(done.message.body)
        self.report.requests += 1
        if answer := done.answer.result():
            self.report.refuse(Refusal(done.message.number, answer.reason, answer.refused))
