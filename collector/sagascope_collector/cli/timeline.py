"""A saga's attempts as bars under each other. Pure.

Stretches in which nothing starts or ends are squeezed, so that 200 ms of work in 3 h of waiting stay readable.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import log10

from rich.console import Console, ConsoleOptions
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import times
from sagascope_collector.client import schemas

LABEL: int = 24
"""Columns for the step's name and attempt number."""

TRIES: int = 3
"""Bars of one step that are drawn at its beginning, and as many at its end."""

MOST: int = 40
"""Bars that are drawn; of more attempts the first and the last ones."""

BARS = {
    "ok": ("█", "", "green"),
    "error": ("▓", "✗", "red"),
    "in_flight": ("░", "▶", "yellow"),
    "unknown": ("░", "?", "magenta"),
}
"""Texture, end mark and colour of each attempt's state; texture and mark say it where colour does not."""


class Timeline:
    """Draws the attempts of `steps` up to `now`, as wide as the console is."""

    def __init__(self, steps: Sequence[schemas.Step], now: datetime) -> None:
        self.steps = steps
        self.now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        attempts = sorted(_attempts(self.steps), key=lambda pair: pair[1].started_at)
        tried = sum(len(each.attempts) for each in self.steps)
        if not attempts:
            return
        axis = _Axis([pair[1] for pair in attempts], self.now, options.max_width - LABEL - 1)
        yield _heading(axis)
        drawn = attempts if len(attempts) <= MOST else attempts[: MOST // 2] + attempts[-MOST // 2 :]
        for label, attempt in drawn:
            yield _bar(label, attempt, axis)
        if len(drawn) < tried:
            yield Text(f"{tried - len(drawn):,} attempts between them are not drawn.", "dim")
        yield _legend(drawn)


class _Axis:
    """Columns of moments. Every stretch between two moments gets room by the logarithm of its length."""

    def __init__(self, attempts: Sequence[schemas.Attempt], now: datetime, columns: int) -> None:
        self.now = now
        ends = [each.ended_at or now for each in attempts]
        self._moments = sorted({*(each.started_at for each in attempts), *ends})
        self.start, self.end = self._moments[0], self._moments[-1]
        self.live = any(each.ended_at is None for each in attempts)
        self._columns = self._spread(max(10, columns - 2))

    def _spread(self, columns: int) -> list[float]:
        gaps = [
            (later - sooner).total_seconds() for sooner, later in zip(self._moments, self._moments[1:], strict=False)
        ]
        room = [log10(1 + gap * 1_000) for gap in gaps]
        scale = columns / (sum(room) or 1)
        spread = [0.0]
        for each in room:
            spread.append(spread[-1] + each * scale)
        return spread

    def column(self, moment: datetime) -> int:
        """The column of the start or the end of an attempt."""
        return round(self._columns[bisect_right(self._moments, moment) - 1])


def _attempts(steps: Sequence[schemas.Step]) -> Iterator[tuple[str, schemas.Attempt]]:
    for step in steps:
        many = len(step.attempts) > 2 * TRIES + 1
        for attempt in [*step.attempts[:TRIES], *step.attempts[-TRIES:]] if many else step.attempts:
            number = f" {attempt.number}" if len(step.attempts) > 1 else ""
            yield _label(f"{step.name}[{step.key}]" if step.key else step.name, number), attempt


def _label(name: str, number: str) -> str:
    label = Text(safe_text.line(name))
    label.truncate(LABEL - len(number), overflow="ellipsis")
    return label.plain + number


def _heading(axis: _Axis) -> Text:
    end = "now" if axis.live else times.time_of_day(axis.end)
    length = times.between(axis.start, axis.end)
    return Text(f"{times.time_of_day(axis.start)} to {end}, {length}; quiet stretches are squeezed", "dim")


def _legend(drawn: Sequence[tuple[str, schemas.Attempt]]) -> Text:
    """The textures and marks that occur."""
    states = {attempt.state for _, attempt in drawn}
    parts = [f"{fill}{mark} {state.replace('_', ' ')}" for state, (fill, mark, _) in BARS.items() if state in states]
    return Text(" " * (LABEL + 1) + "   ".join(parts), "dim")


def _bar(label: str, attempt: schemas.Attempt, axis: _Axis) -> Text:
    fill, mark, colour = BARS[attempt.state]
    start, end = axis.column(attempt.started_at), axis.column(attempt.ended_at or axis.now)
    bar = Text(label, no_wrap=True, overflow="ellipsis")
    bar.pad_right(LABEL + 1 - bar.cell_len + start)
    return bar.append(fill * max(1, end - start) + mark, colour)
