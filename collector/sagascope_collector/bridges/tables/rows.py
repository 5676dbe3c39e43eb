"""What a row says, as its mapping reads it. Pure."""

import logging
import math
from collections.abc import Mapping as ByName
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from sagascope_collector.bridges.tables.mapping import Table
from sagascope_collector.bridges.tables.states import State, compared

SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

MILLISECONDS_FROM: Final = 100_000_000_000
"""A number from here on counts milliseconds since 1970; a smaller one seconds."""

_log: Final = logging.getLogger(__name__)

Texts = ByName[str, str | None]
"""The values of a row, as PostgreSQL writes them, by meaning."""


class Row(BaseModel):
    """One row. Times are nanoseconds since 1970; 0: it does not say."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: State
    word: str = ""
    """The state, as the row says it."""
    name: str = ""
    run: str = ""
    step: str = ""
    step_key: str = ""
    attempt: int | None = None
    """None: it does not count."""
    max_attempts: int = 0
    retry_at: int = 0
    timeout: float = 0.0
    error: str = ""
    error_type: str = ""
    started: int = 0
    changed: int = 0
    ended: int = 0
    compensates: str = ""
    idempotency_key: str = ""
    amount: str = ""
    currency: str = ""
    service: str = ""
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Reader:
    """Reads the rows of one table."""

    table: Table
    _zone: ZoneInfo = field(init=False)
    _words: dict[str, State] = field(init=False)
    _unknown: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._zone = ZoneInfo(self.table.timezone)
        self._words = self.table.words

    def read(self, said: Texts, keys: Texts) -> Row | None:
        """A row; None: it names no saga, or no step where each row should."""
        text = {name: value or "" for name, value in said.items()}
        if not text["id"] or (self.table.holds == "steps" and not text.get("step")):
            return None
        values: dict[str, Any] = {name: text[name] for name in _TEXTS & text.keys()}
        values |= {name: _count(text[name]) for name in _COUNTS & text.keys()}
        values |= {name: self._time(text[name]) for name in _TIMES & text.keys()}
        values["timeout"] = _number(text.get("timeout", ""))
        values["keys"] = tuple((name, value) for name, value in keys.items() if value)
        if self.table.columns.step == self.table.columns.state:
            values["step"] = ""
        return Row(state=self._state(text), word=text.get("state", ""), **values)

    def _state(self, text: ByName[str, str]) -> State:
        if "state" not in text:
            return State.SUCCEEDED if text.get("ended") else State.STARTED
        word = compared(text["state"])
        if word not in self._words and word not in self._unknown:
            self._unknown.add(word)
            _log.warning("%r is no state that the mapping of %s knows; it counts as started.", word, self.table.label)
        return self._words.get(word, State.STARTED)

    def _time(self, text: str) -> int:
        """Nanoseconds since 1970; 0 where it is none, or ``infinity``."""
        if number := _number(text):
            return round(number * (SECOND // 1_000 if number >= MILLISECONDS_FROM else SECOND))
        try:
            said = datetime.fromisoformat(text)
        except ValueError:
            return 0
        said = said if said.tzinfo else said.replace(tzinfo=self._zone)
        return max(0, (said - _EPOCH) // _MICROSECOND * 1_000)


_TIMES: Final = frozenset({"retry_at", "started", "changed", "ended"})
_COUNTS: Final = frozenset({"attempt", "max_attempts"})
_TEXTS: Final = frozenset(Row.model_fields) - _TIMES - _COUNTS - {"state", "word", "timeout", "keys"}


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and 0 < number < MILLISECONDS_FROM * 1_000_000 else 0.0


def _count(text: str) -> int:
    return int(_number(text))
