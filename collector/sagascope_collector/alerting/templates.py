"""Bodies that people write themselves: JSON in which ``{headline}`` and its like are filled in. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from sagascope_collector.config_file import Template

FIELDS: Final = (
    "event", "headline", "key", "environment", "name", "step", "service", "phase", "reason", "scope", "count", "peak",
    "since", "latest_at", "at", "error_sample", "amount_at_risk", "examples", "state", "note", "acknowledged_by",
    "link", "resume", "compensate", "verify_first", "rule",
)  # fmt: skip
"""What can be filled in."""

DEEPEST: Final = 20


def checked(body: Any) -> Any:
    """The body, if everything in it can be filled in.

    Raises:
        ValueError: it names a field that there is not, or is nested too deep.
    """
    fill(body, {})
    return body


def fill(body: Any, values: Mapping[str, str], depth: int = DEEPEST) -> Any:
    """The body with every blank filled in: texts stay texts, whatever a value holds."""
    if depth < 0:
        raise ValueError("the body is nested too deep")
    if isinstance(body, str):
        return Template.parse(body, _check).filled(values)
    if isinstance(body, Mapping):
        return {key: fill(value, values, depth - 1) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [fill(each, values, depth - 1) for each in body]
    return body


def _check(name: str) -> None:
    if name not in FIELDS:
        raise ValueError(f"there is no field {name!r}; there are {', '.join(FIELDS)}")
