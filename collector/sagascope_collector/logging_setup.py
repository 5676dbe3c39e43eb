"""What the collector writes of itself: one event a line, for people or for machines, on standard error.

Every module logs with the standard library; its facts go in ``extra``. What libraries log comes out the same way.
"""

import logging
import sys
from enum import StrEnum
from json import dumps
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.typing import EventDict, WrappedLogger

from sagascope_collector import safe_text
from sagascope_collector.errors import SagascopeError

Raised = tuple[type[BaseException], BaseException, TracebackType | None]

LONGEST: Final = 1_000
"""Characters of one text."""

FRAMES: Final = 12
"""Innermost calls that are told of an exception."""

TELLING: Final = (SagascopeError, OSError, MemoryError)
"""Exceptions whose text is told: it names files and addresses, never what telemetry holds."""

TELLING_OF_DUCKDB: Final = frozenset({"IOException", "OutOfMemoryException", "FatalException", "TransactionException"})

QUIETER: Final = ("uvicorn", "httpx", "httpcore", "grpc", "asyncio")
"""Libraries that tell of every request, or of their own start, at the level of information."""


class Format(StrEnum):
    """How events are written."""

    TEXT = "text"
    JSON = "json"


class Level(StrEnum):
    """The least grave events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(form: Format, level: Level) -> None:
    """Let everything that this process logs be written so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _say_exception, _RENDER[form]],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIETER:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def _say_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What was raised, and where, on one line; without the values that its text may quote."""
    raised = event.pop("exc_info", None)
    if not isinstance(raised, tuple) or raised[0] is None:
        return event
    kind, error, trace = raised
    event["exception"] = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, TELLING) or kind.__name__ in TELLING_OF_DUCKDB:
        event["reason"] = str(error)
    frames = extract_tb(trace)[-FRAMES:]
    event["at"] = " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))
    return event


def _text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """``TIME LEVEL logger: event key=value``: nothing in it is interpreted by a terminal, or begins a new line."""
    time, level, logger = (event.pop(name, "") for name in ("timestamp", "level", "logger"))
    said = safe_text.line(str(event.pop("event", "")), LONGEST)
    facts = "".join(f" {safe_text.line(str(name), 80)}={_quoted(value)}" for name, value in event.items())
    return f"{time} {level.upper()} {logger}: {said}{facts}"


def _quoted(value: Any) -> str:
    text = safe_text.line(value if isinstance(value, str) else dumps(value, default=str), LONGEST)
    return text if text and not set(text) & set(' "=') else dumps(text, ensure_ascii=False)


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    """One object a line, in ASCII: whatever stands in it is escaped."""
    cut = {name: safe_text.cut(value, LONGEST) if isinstance(value, str) else value for name, value in event.items()}
    return dumps(cut, default=str)


_RENDER: Final = {Format.TEXT: _text, Format.JSON: _json}
