"""Makes values fit to be sent: no longer than allowed, and valid text."""

from collections.abc import Mapping
from typing import Any


def fit(attributes: Mapping[str, Any], longest: int) -> Mapping[str, Any]:
    """The attributes with every text at most `longest` characters; the same mapping where nothing was to be done."""
    for value in attributes.values():
        if not _fits(value, longest):
            return {key: _fitted(value, longest) for key, value in attributes.items()}
    return attributes


def fit_text(text: str, longest: int) -> str:
    """The text cut to `longest` characters, and saying so; what is no valid Unicode is replaced."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… (cut, {len(text)} characters)"


def fit_trace(trace: str, longest: int) -> str:
    """A stack trace likewise; its end says most, so that most of it is kept."""
    if len(trace) <= longest:
        return fit_text(trace, longest)
    head = longest // 4
    return fit_text(f"{trace[:head]}\n… (cut, {len(trace)} characters) …\n{trace[head - longest :]}", 2 * longest)


def _fits(value: Any, longest: int) -> bool:
    if type(value) is str:
        return len(value) <= longest and value.isascii()
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, tuple) and all(_fits(each, longest) for each in value)
    )


def _fitted(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return fit_text(value, longest)
    if isinstance(value, (list, tuple)):
        return tuple(_fitted(each, longest) for each in value)
    return value
