"""Each attribute by itself: its name, its type, its values."""

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

from sagascope import semconv
from sagascope_collector.conformance.currencies import CODES
from sagascope_collector.conformance.heard import Attributes, Heard
from sagascope_collector.conformance.report import Finding
from sagascope_collector.conformance.rule import Rule

SECTION = "Attributes"

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_seconds(value: Any) -> bool:
    """Whether it is a double from 0; a whole number counts, since JavaScript's SDK can send it in no other way."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _is_currency(value: Any) -> bool:
    return value in CODES if isinstance(value, str) else False


TYPES: dict[str, tuple[str, Check]] = {
    semconv.SAGA_ID: ("a string that is not empty", _is_word),
    semconv.SAGA_NAME: ("a string that is not empty", _is_word),
    semconv.SAGA_RUN_ID: ("a string", _is_text),
    semconv.SAGA_ROLE: ("saga or step", _one_of(semconv.ROLE_SAGA, semconv.ROLE_STEP)),
    semconv.STEP_NAME: ("a string that is not empty", _is_word),
    semconv.STEP_TYPE: (f"one of {', '.join(semconv.STEP_TYPES)}", _one_of(*semconv.STEP_TYPES)),
    semconv.STEP_COMPENSATES: ("the name of a step", _is_word),
    semconv.STEP_ATTEMPT: ("an int from 1", _is_count),
    semconv.STEP_MAX_ATTEMPTS: ("an int from 1", _is_count),
    semconv.STEP_RETRY_IN: ("a double, in seconds", is_seconds),
    semconv.STEP_TIMEOUT: ("a double, in seconds", is_seconds),
    semconv.STEP_PIVOT: ("a bool", _is_flag),
    semconv.STEP_IDEMPOTENCY_KEY: ("a string", _is_text),
    semconv.STEP_KEY: ("a string", _is_text),
    semconv.STEP_RESOURCES: ("a list of strings", _list_of(_is_text)),
    semconv.WAIT_UNTIL: ("a double, in Unix seconds", is_seconds),
    semconv.WAIT_REASON: ("a string", _is_text),
    semconv.PLAN: ("a list of strings", _list_of(_is_word)),
    semconv.PLAN_COMPENSATIONS: ("a list of strings", _list_of(_is_text)),
    semconv.PLAN_TIMEOUTS: ("a list of doubles, in seconds", _list_of(is_seconds)),
    semconv.PLAN_AFTER: ("a list of strings", _list_of(_is_text)),
    semconv.PLAN_OPTIONAL: ("a list of bools", _list_of(_is_flag)),
    semconv.SAGA_TIMEOUT: ("a double, in seconds", is_seconds),
    semconv.SAGA_OUTCOME: (f"one of {', '.join(semconv.OUTCOMES)}", _one_of(*semconv.OUTCOMES)),
    semconv.AMOUNT: ("a decimal string, such as 50.00", _is_amount),
    semconv.CURRENCY: ("a code of ISO 4217, such as EUR", _is_currency),
}
"""What each attribute holds."""


def _sets(heard: Heard) -> Iterator[tuple[str, Attributes]]:
    """Every set of attributes, those of links among them."""
    for record in heard.records:
        yield record.where, record.attributes
    for span in heard.spans:
        for link in span.links:
            yield f"a link of {span.where}", link


def _typed(key: str, check: Check) -> Callable[[Heard], Iterator[Finding]]:
    def look(heard: Heard) -> Iterator[Finding]:
        for where, attributes in _sets(heard):
            if key in attributes:
                value = attributes[key]
                yield Finding(where, "" if check(value) else f"it is {shown(value)}")

    return look


def shown(value: Any) -> str:
    """A value with its type, for a person."""
    return f"{repr(value)[:80]}, of type {type(value).__name__}"


def _business_keys(heard: Heard) -> Iterator[Finding]:
    for where, attributes in _sets(heard):
        for key, value in attributes.items():
            if key.startswith(semconv.KEY_PREFIX):
                yield Finding(where, "" if isinstance(value, str) else f"{key} is {shown(value)}")


def _known(heard: Heard) -> Iterator[Finding]:
    for where, attributes in _sets(heard):
        for key in attributes:
            if key.startswith("saga.") and not key.startswith(semconv.KEY_PREFIX):
                yield Finding(where, "" if key in TYPES else f"{key} is no name of the contract{_meant(key)}")


def _meant(key: str) -> str:
    near = get_close_matches(key, TYPES, 1)
    return f"; perhaps {near[0]} is meant" if near else ""


RULES = (
    *(
        Rule(SECTION, key, f"{key} is {holds}.", f"Set {key} to {holds}.", _typed(key, check))
        for key, (holds, check) in TYPES.items()
    ),
    Rule(SECTION, "saga.key.*", "Business keys are strings.", "Set each saga.key.<name> to a string.", _business_keys),
    Rule(
        SECTION,
        "names",
        "Every attribute that begins with saga. is one of the contract.",
        "Rename it, or give it a prefix of your own.",
        _known,
    ),
)
