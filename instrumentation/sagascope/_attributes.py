"""Attribute values: from Python values, from exceptions, and truncated to the configured length."""

import traceback
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from sagascope import semconv
from sagascope._errors import warn

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    Amount = str | int | float | Decimal
else:
    Amount = object

T = TypeVar("T")

NO_TEXT = "(not available)"
"""Stands for a value whose ``str()`` fails, for example the message of an exception."""

CURRENCY_LETTERS = 3


def text_of(value: object) -> str:
    """Returns a value of the service as text; an error in its own ``__str__`` stays here."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - the service's class
        return NO_TEXT


def amount_attributes(amount: "Amount | None", currency: str | None) -> dict[str, str]:
    """Returns the attributes of the amount concerned. A `Decimal` is written without an exponent.

    Without a valid amount there are none; a currency that has not three letters is only warned about.
    """
    attributes = {}
    if amount is not None:
        is_decimal = hasattr(amount, "as_tuple")
        text = format(amount, "f") if is_decimal else text_of(amount)
        if not _is_number(text):
            warn("The amount is not a number, and is left out.")
            return {}
        attributes[semconv.AMOUNT] = text
    if currency is not None:
        text = text_of(currency)
        if len(text) != CURRENCY_LETTERS or not (text.isascii() and text.isalpha()):
            warn("The currency is not a code of three letters as in ISO 4217.")
        attributes[semconv.CURRENCY] = text
    return attributes


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def key_attributes(keys: Mapping[str, Any] | None) -> dict[str, str]:
    if keys and not hasattr(keys, "items"):
        warn("The keys are not a mapping of names to values, and are left out.")
        return {}
    return {semconv.KEY_PREFIX + text_of(name): text_of(value) for name, value in (keys or {}).items()}


def converted_option(option: str, convert: Callable[[Any], T], value: Any) -> T | None:
    """Returns the value of an option in its type; None if it was not given, or is invalid, of which it warns."""
    try:
        return None if value is None else convert(value)
    except Exception:  # noqa: BLE001 - the user's value
        warn(f"The option {option} of a step has an invalid value, and is left out.")
        return None


def texts(value: Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def captured_value(value: Any) -> str | bool | int | float:
    return value if isinstance(value, (str, bool, int, float)) else text_of(value)


def unix_seconds(when: "datetime | float") -> float:
    """Returns Unix seconds. A `datetime` without a time zone is local time, as everywhere in Python."""
    return float(when) if isinstance(when, (int, float)) else when.timestamp()


def error_summary(error: BaseException) -> str:
    """Returns the type and the message of an error in one line."""
    message = text_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def exception_attributes(error: BaseException, max_length: int) -> dict[str, Any]:
    """Returns the type, the message and the stack trace of an error, as OpenTelemetry names them."""
    kind = type(error)
    attributes = {"exception.type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    try:
        attributes["exception.message"] = truncate_text(text_of(error), max_length)
        stack_trace = "".join(traceback.format_exception(error))
        attributes["exception.stacktrace"] = truncate_stack_trace(stack_trace, max_length)
    except Exception:  # noqa: BLE001 - the user's exception class
        attributes.setdefault("exception.message", NO_TEXT)
    return attributes


def truncate(attributes: Mapping[str, Any], max_length: int) -> Mapping[str, Any]:
    """Returns the attributes with texts of at most `max_length` characters; the same mapping if all of them fit."""
    for value in attributes.values():
        if not _fits(value, max_length):
            return {key: _truncated(value, max_length) for key, value in attributes.items()}
    return attributes


def truncate_text(text: str, max_length: int) -> str:
    """Returns the text as valid Unicode, cut to `max_length` characters and marked as cut."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= max_length:
        return text
    return f"{text[:max_length]}… (cut, {len(text)} characters)"


def truncate_stack_trace(trace: str, max_length: int) -> str:
    """Returns the first quarter and the last three quarters of what fits: the end of a stack trace matters most."""
    if len(trace) <= max_length:
        return truncate_text(trace, max_length)
    head = max_length // 4
    cut = f"{trace[:head]}\n… (cut, {len(trace)} characters) …\n{trace[head - max_length :]}"
    return truncate_text(cut, 2 * max_length)


def _fits(value: Any, max_length: int) -> bool:
    if type(value) is str:
        return len(value) <= max_length and value.isascii()
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, tuple) and all(_fits(item, max_length) for item in value)
    )


def _truncated(value: Any, max_length: int) -> Any:
    if isinstance(value, str):
        return truncate_text(value, max_length)
    if isinstance(value, (list, tuple)):
        return tuple(_truncated(item, max_length) for item in value)
    return value
