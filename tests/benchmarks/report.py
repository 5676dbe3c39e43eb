"""Measurements as tables of Markdown, printed, and on demand put into the document."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
LIBRARIES = ("duckdb", "pyarrow", "ptars", "protobuf", "grpcio", "uvicorn")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every column but the first two is of figures."""
    every = [list(head), *map(list, rows)]
    widths = [max(len(row[place]) for row in every) for place in range(len(head))]
    figures = [place > 1 for place in range(len(head))]
    lines = [_line(row, widths, figures) for row in every]
    rule = "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, figures, strict=True))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int], figures: Sequence[bool]) -> str:
    cells = zip(row, widths, figures, strict=True)
    return "| " + " | ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in cells) + " |"


def machine() -> str:
    """Where it was measured, and with what."""
    cores, memory = psutil.cpu_count(), psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    hardware = f"{_processor()}, {cores} cores, {memory:.0f} GB"
    return f"{datetime.now(UTC):%Y-%m-%d}, {hardware}, {system}, {python}, {libraries}."


def load() -> str:
    """How many processes want a processor at this time, ours among them."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    try:
        told = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        told = None
    return told[1] if told else platform.machine()


def write(name: str, measured: str) -> None:
    """Put a benchmark's table between its two marks in the document.

    Raises:
        ValueError: the document has no place for it.
    """
    begin, end = f"<!-- {name}: measured -->", f"<!-- {name}: end -->"
    text = DOCUMENT.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{DOCUMENT.name} has no {begin} and {end}")
    DOCUMENT.write_text(f"{before}{begin}\n{machine()}\n\n{measured}\n{end}{after}", encoding="utf-8")
