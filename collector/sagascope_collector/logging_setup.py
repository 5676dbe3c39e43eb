"""Logging to standard error: one event per line, as text or JSON.

Modules log with the standard library and pass fields in ``extra``. Events of libraries have the same format.
"""

import logging
import sys
from enum import StrEnum
from json import dumps
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import structlog
from structlog.typing import EventDict, WrappedLogger

from sagascope_collector import safe_text
from sagascope_collector.errors import SagascopeError
from sagascope_collector.safe_text import RepeatFilter

MAX_TEXT_CHARACTERS: Final = 1_000

MAX_TRACEBACK_FRAMES: Final = 12
"""Maximum number of frames of an exception that are logged, the innermost."""

SAFE_EXCEPTIONS: Final = (SagascopeError, OSError, MemoryError)
"""Exceptions whose text is logged: it may name files and addresses, but contains no telemetry."""

SAFE_DUCKDB_EXCEPTIONS: Final = frozenset(
    {"IOException", "OutOfMemoryException", "FatalException", "TransactionException"}
)

VERBOSE_LOGGERS: Final = ("uvicorn", "httpx", "httpcore", "grpc", "asyncio")
"""Libraries that log every request, or their own start, at level INFO."""


class Format(StrEnum):
    """The format of log events."""

    TEXT = "text"
    JSON = "json"


class Level(StrEnum):
    """The minimum severity of log events."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(form: Format, level: Level) -> None:
    """Configures logging of this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _add_exception, _RENDER[form]],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("uvicorn.error").filters[:] = [RepeatFilter()]
    logging.getLogger("grpc._cython.cygrpc").filters[:] = [RepeatFilter(logging.ERROR)]
    logging.captureWarnings(True)


def _add_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Adds the type and location of an exception in one line, without its text if that may contain telemetry."""
    raised = event.pop("exc_info", None)
    if not isinstance(raised, tuple) or raised[0] is None:
        return event
    kind, error, trace = raised
    event["exception"] = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, SAFE_EXCEPTIONS) or kind.__name__ in SAFE_DUCKDB_EXCEPTIONS:
        event["reason"] = str(error)
    frames = extract_tb(trace)[-MAX_TRACEBACK_FRAMES:]
    event["at"] = " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))
    return event


def _text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Formats ``TIME LEVEL logger: event key=value``, in one line and safe for terminals."""
    time, level, logger = (event.pop(name, "") for name in ("timestamp", "level", "logger"))
    message = safe_text.line(str(event.pop("event", "")), MAX_TEXT_CHARACTERS)
    fields = "".join(f" {safe_text.line(str(name), 80)}={_quoted(value)}" for name, value in event.items())
    return f"{time} {level.upper()} {logger}: {message}{fields}"


def _quoted(value: Any) -> str:
    text = safe_text.line(value if isinstance(value, str) else dumps(value, default=str), MAX_TEXT_CHARACTERS)
    return text if text and not set(text) & set(' "=') else dumps(text, ensure_ascii=False)


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Formats one JSON object per line, in ASCII."""
    cut = {
        name: safe_text.cut(value, MAX_TEXT_CHARACTERS) if isinstance(value, str) else value
        for name, value in event.items()
    }
    return dumps(cut, default=str)


_RENDER: Final = {Format.TEXT: _text, Format.JSON: _json}
