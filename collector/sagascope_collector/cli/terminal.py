"""Writes to the terminal, and formats times for it: in color on a terminal, and in ASCII where it has no Unicode."""

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from json import dumps
from typing import Any, Final

from pydantic import BaseModel
from rich.console import Console, RenderableType

from sagascope_collector import client, errors, safe_text
from sagascope_collector.durations import format_duration

ASCII: Final = str.maketrans(
    {"✓": "+", "✗": "x", "▶": ">", "↩": "<", "·": ".", "█": "#", "▓": "%", "░": "-", "…": "~", "⏎": "|"}
)
"""Replacements for the marks and textures of `render`."""


def show(renderable: RenderableType) -> None:
    """Prints a renderable to standard output."""
    write(text(renderable))


def text(renderable: RenderableType) -> str:
    """Renders to text, without trailing spaces."""
    console = Console(markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(renderable)
    return re.sub(r" +$", "", captured.get(), flags=re.MULTILINE)


def write(output: str) -> None:
    """Writes text to standard output; escapes characters that its encoding does not have."""
    encoding = sys.stdout.encoding or "ascii"
    if not encoding.lower().startswith("utf"):
        output = output.translate(ASCII).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(output)


def print_json(document: BaseModel | Mapping[str, Any]) -> None:
    """Prints JSON in ASCII, which is valid in any encoding and safe for terminals."""
    plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    write(dumps(plain, indent=2) + "\n")


def now() -> datetime:
    """Returns the current time in UTC."""
    return datetime.now(UTC)


def elapsed(start: datetime, end: datetime) -> str:
    """Formats the time between two moments."""
    return format_duration((end - start).total_seconds())


def time_of_day(time: datetime) -> str:
    """Formats ``14:02:11.120``, in UTC."""
    return time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def day_and_time(time: datetime) -> str:
    """Formats ``2026-11-22 14:02:11 UTC``."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


DONE: int = 0
"""The command succeeded; also if no action is required."""

NOT_FOUND: int = 1
"""The requested object is unknown."""

NOT_DONE: int = 2
"""A usage error, or the collector cannot be reached or cannot run."""

STATUS: Mapping[type[Exception], int] = {
    client.NotFound: NOT_FOUND,
    client.ClientError: NOT_DONE,
    errors.NotFound: NOT_FOUND,
    errors.SagascopeError: NOT_DONE,
}
"""The exit code of each error; other classes have that of their nearest base class."""


def status_of(error: Exception) -> int | None:
    """Returns the exit code of an error; None for an unexpected one."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def sentence(error: Exception) -> str:
    """Returns the message for an error, with a hint where one is known."""
    text = safe_text.lines(str(error))
    if isinstance(error, client.TokenNeeded):
        return f"{text}\nName the token's file with --token-file, or set SAGASCOPE_TOKEN."
    if isinstance(error, client.Untrusted):
        return f"{text}\nSet the CA with --ca-file, and a client certificate with --client-cert and --client-key."
    if isinstance(error, client.CollectorUnreachable):
        return f"{text}\nStart a collector with `sagascope serve`, or set another URL with --url or SAGASCOPE_URL."
    return text
