"""Writes to the terminal, and formats times for it: in color on a terminal, and in ASCII where it has no Unicode."""

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from json import dumps
from typing import Any, Final

from pydantic import BaseModel
from rich.console import Console, RenderableType

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
