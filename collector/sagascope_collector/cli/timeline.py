"""Renders a saga's attempts as a timeline of bars.

Periods in which no attempt starts or ends are compressed, so that 200 ms of work in 3 h of waiting stay readable.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import log10
from typing import Final

from rich.console import Console, ConsoleOptions
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import terminal
from sagascope_collector.client import schemas

LABEL_COLUMNS: Final = 24
"""The width of the step's name and attempt number."""

EDGE_ATTEMPTS: Final = 3
"""Attempts of one step that are shown at the start, and at the end."""

MAX_BARS: Final = 40
"""Of more attempts, the first and the last ones are shown."""

BARS: Final = {
    "ok": ("█", "", "green"),
    "error": ("▓", "✗", "red"),
    "in_flight": ("░", "▶", "yellow"),
    "unknown": ("░", "?", "magenta"),
}
"""The texture, end mark and color of each attempt state; without color, texture and mark distinguish them."""


class Timeline:
    """Renders the attempts of `steps` up to `now`, in the width of the console."""

    def __init__(self, steps: Sequence[schemas.Step], now: datetime) -> None:
        self.steps = steps
        self.now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        attempts = sorted(_attempts(self.steps), key=lambda pair: pair[1].started_at)
        total = sum(len(each.attempts) for each in self.steps)
        if not attempts:
            return
        axis = _Axis([pair[1] for pair in attempts], self.now, options.max_width - LABEL_COLUMNS - 1)
        yield _heading(axis)
        shown = attempts if len(attempts) <= MAX_BARS else attempts[: MAX_BARS // 2] + attempts[-MAX_BARS // 2 :]
        for label, attempt in shown:
            yield _bar(label, attempt, axis)
        if len(shown) < total:
            yield Text(f"{total - len(shown):,} attempts omitted.", "dim")
        yield _legend(shown)


class _Axis:
    """Maps times to columns: the width of a period is the logarithm of its length."""

    def __init__(self, attempts: Sequence[schemas.Attempt], now: datetime, columns: int) -> None:
        self.now = now
        ends = [each.ended_at or now for each in attempts]
        self._times = sorted({*(each.started_at for each in attempts), *ends})
        self.start, self.end = self._times[0], self._times[-1]
        self.live = any(each.ended_at is None for each in attempts)
        self._columns = self._spread(max(10, columns - 2))

    def _spread(self, columns: int) -> list[float]:
        gaps = [(later - sooner).total_seconds() for sooner, later in zip(self._times, self._times[1:], strict=False)]
        widths = [log10(1 + gap * 1_000) for gap in gaps]
        scale = columns / (sum(widths) or 1)
        spread = [0.0]
        for each in widths:
            spread.append(spread[-1] + each * scale)
        return spread

    def column(self, time: datetime) -> int:
        """Returns the column of the start or end of an attempt."""
        return round(self._columns[bisect_right(self._times, time) - 1])


def _attempts(steps: Sequence[schemas.Step]) -> Iterator[tuple[str, schemas.Attempt]]:
    for step in steps:
        many = len(step.attempts) > 2 * EDGE_ATTEMPTS + 1
        for attempt in [*step.attempts[:EDGE_ATTEMPTS], *step.attempts[-EDGE_ATTEMPTS:]] if many else step.attempts:
            number = f" {attempt.number}" if len(step.attempts) > 1 else ""
            yield _label(f"{step.name}[{step.key}]" if step.key else step.name, number), attempt


def _label(name: str, number: str) -> str:
    label = Text(safe_text.line(name))
    label.truncate(LABEL_COLUMNS - len(number), overflow="ellipsis")
    return label.plain + number


def _heading(axis: _Axis) -> Text:
    end = "now" if axis.live else terminal.time_of_day(axis.end)
    length = terminal.elapsed(axis.start, axis.end)
    return Text(f"{terminal.time_of_day(axis.start)} to {end}, {length}; idle periods are compressed", "dim")


def _legend(shown: Sequence[tuple[str, schemas.Attempt]]) -> Text:
    """Renders the textures and marks that occur."""
    states = {attempt.state for _, attempt in shown}
    parts = [f"{fill}{mark} {state.replace('_', ' ')}" for state, (fill, mark, _) in BARS.items() if state in states]
    return Text(" " * (LABEL_COLUMNS + 1) + "   ".join(parts), "dim")


def _bar(label: str, attempt: schemas.Attempt, axis: _Axis) -> Text:
    fill, mark, color = BARS[attempt.state]
    start, end = axis.column(attempt.started_at), axis.column(attempt.ended_at or axis.now)
    bar = Text(label, no_wrap=True, overflow="ellipsis")
    bar.pad_right(LABEL_COLUMNS + 1 - bar.cell_len + start)
    return bar.append(fill * max(1, end - start) + mark, color)
