"""One thing to do about a saga that needs attention, and what kind of thing it is.

The kind is what tests hold: an action that repeats, reverses or continues work names an idempotency key, or follows one
that verifies.
"""

from enum import StrEnum
from typing import NamedTuple

from sagascope_collector.analysis.wording import Text, phrase, sentences


class Kind(StrEnum):
    """What an action asks of a person."""

    INSPECT = "inspect"
    """Find a cause, or fix it; changes nothing in the saga."""
    START = "start"
    """Start or resume what runs sagas; the saga then continues by its own means."""
    VERIFY = "verify"
    """Find out what took effect."""
    REPEAT = "repeat"
    """Run work again, or run what may have run already."""
    REVERSE = "reverse"
    """Compensate committed work."""
    CLOSE = "close"
    """Close a saga of which every step is known to have ended."""


CHANGES_WORK = frozenset({Kind.REPEAT, Kind.REVERSE})
"""Kinds that harm where the evidence is wrong."""


class Action(NamedTuple):
    """One thing to do."""

    kind: Kind
    text: Text
    key: str | None = None
    """The idempotency key that makes it harmless; its text names it."""


def inspect(template: str, *values: str | int) -> Action:
    """An action that finds or fixes a cause."""
    return Action(Kind.INSPECT, sentences(phrase(template, *values)))


def start(template: str, *values: str | int) -> Action:
    """An action that starts or resumes what runs the saga."""
    return Action(Kind.START, sentences(phrase(template, *values)))


def verify(template: str, *values: str | int) -> Action:
    """An action that finds out what took effect."""
    return Action(Kind.VERIFY, sentences(phrase(template, *values)))


def repeat(template: str, *values: str | int, key: str | None = None) -> Action:
    """An action that runs work."""
    return Action(Kind.REPEAT, sentences(phrase(template, *values)), key)


def reverse(template: str, *values: str | int, key: str | None = None) -> Action:
    """An action that compensates work."""
    return Action(Kind.REVERSE, sentences(phrase(template, *values)), key)


def close(template: str, *values: str | int) -> Action:
    """An action that closes the saga."""
    return Action(Kind.CLOSE, sentences(phrase(template, *values)))
