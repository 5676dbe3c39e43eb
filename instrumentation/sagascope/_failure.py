"""Describes an error as OpenTelemetry does: type, message and stack trace."""

import traceback
from typing import Any

from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)

from sagascope._fitting import fit_text, fit_trace


def describe_error(error: BaseException, longest: int) -> dict[str, Any]:
    """The attributes of an error, each at most `longest` characters; of one that cannot be put into words, its type."""
    kind = type(error)
    described = {EXCEPTION_TYPE: f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    try:
        described[EXCEPTION_MESSAGE] = fit_text(str(error), longest)
        described[EXCEPTION_STACKTRACE] = fit_trace("".join(traceback.format_exception(error)), longest)
    except Exception:  # noqa: BLE001 - the user's exception class
        described.setdefault(EXCEPTION_MESSAGE, "(its text cannot be made)")
    return described
