"""Puts renderables on standard output: in colour on a terminal, and in ASCII where it cannot show more."""

import re
import sys

from rich.console import Console, RenderableType

ASCII = str.maketrans(
    {"✓": "+", "✗": "x", "▶": ">", "↩": "<", "·": ".", "█": "#", "▓": "%", "░": "-", "…": "~", "⏎": "|"}
)
"""Stand-ins for the marks and textures of `render` and `timeline`."""


def show(renderable: RenderableType) -> None:
    """Print to standard output."""
    write(text(renderable))


def text(renderable: RenderableType) -> str:
    """What is printed of it."""
    console = Console(markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(renderable)
    return re.sub(r" +$", "", captured.get(), flags=re.MULTILINE)


def write(told: str) -> None:
    """Write text as far as the output's encoding goes; what it lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    if not encoding.lower().startswith("utf"):
        told = told.translate(ASCII).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(told)
