"""The components' JavaScript and CSS, from the files beside this one."""

from pathlib import Path

_HERE = Path(__file__).parent

PAPER = ("moments.js", "icons.js", "paper.js")
"""What draws trees of nodes."""

TIMELINE = (
    "moments.js",
    "icons.js",
    "words.js",
    "dom.js",
    "scale.js",
    "overview.js",
    "axis.js",
    "detail.js",
    "timeline.js",
)
"""What draws a timeline."""


def read(*names: str) -> str:
    """Files joined in this order: one module for the browser, which cannot import from another component's."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
