"""The components' JavaScript and CSS, from the files beside this one."""

from pathlib import Path

_HERE = Path(__file__).parent

RENDERER = ("moments.js", "icons.js", "renderer.js")
"""The scripts that render trees of elements."""

TIMELINE = (
    "moments.js",
    "icons.js",
    "labels.js",
    "dom.js",
    "scale.js",
    "overview.js",
    "axis.js",
    "detail.js",
    "timeline.js",
)
"""The scripts that render a timeline."""


def read(*names: str) -> str:
    """Files joined in this order: one module for the browser, which cannot import from another component's."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
