"""The attention codes: one record for each, shared by diagnosis, incidents, API, alerts, command line and dashboard.

`analysis.diagnosis.RULES` defines the rule, the headline and the actions of each code.
"""

from enum import StrEnum
from typing import Literal, NamedTuple, Self

Tone = Literal["alarm", "wait"]
"""The colour of a code: ``alarm`` if the saga stays in error, ``wait`` if it may still succeed."""

Scope = Literal["open", "not completed", "all"]
"""The sagas to which a code applies: open ones, also ended ones that did not complete, or all."""

Remedy = Literal["verify", "compensate", "unblock", "close", "continue"]
"""What ends the situation.

``verify``: a person, as telemetry alone cannot show what is right. ``compensate``: compensate the committed steps.
``unblock``: remove what the engine waits for; it continues by itself. ``close``: close the saga, whose steps are done.
``continue``: continue at the step where it stopped.
"""


class _Record(NamedTuple):
    """The fields of a code; none has a default, so that each is decided for each code."""

    code: str
    label: str
    tone: Tone
    icon: str
    scope: Scope
    remedy: Remedy
    risks_money: bool
    rests_on_absence: bool
    stops_at_step: bool


class AttentionCode(StrEnum):
    """Why a saga needs attention. If several codes apply, the first in this order is reported."""

    # fmt: off
    APPLIED_TWICE = _Record(
        "applied_twice", "Executed twice", "alarm", "twice", "all", "verify",
        risks_money=True, rests_on_absence=False, stops_at_step=False,
    )
    COMPENSATION_FAILED = _Record(
        "compensation_failed", "Compensation failed", "alarm", "cross", "not completed", "compensate",
        risks_money=True, rests_on_absence=False, stops_at_step=False,
    )
    UNCOMPENSATED = _Record(
        "uncompensated", "Not compensated", "alarm", "open", "not completed", "compensate",
        risks_money=True, rests_on_absence=True, stops_at_step=False,
    )
    MIXED_OUTCOME = _Record(
        "mixed_outcome", "Mixed outcome", "alarm", "twice", "all", "verify",
        risks_money=True, rests_on_absence=False, stops_at_step=False,
    )
    IN_DOUBT = _Record(
        "in_doubt", "In doubt", "alarm", "question", "not completed", "verify",
        risks_money=True, rests_on_absence=True, stops_at_step=False,
    )
    BLOCKED = _Record(
        "blocked", "Blocked", "alarm", "hourglass", "open", "unblock",
        risks_money=False, rests_on_absence=False, stops_at_step=True,
    )
    INSTANCE_LOST = _Record(
        "instance_lost", "Instance lost", "alarm", "unplugged", "open", "continue",
        risks_money=False, rests_on_absence=True, stops_at_step=True,
    )
    RETRYING = _Record(
        "retrying", "Retrying", "wait", "again", "open", "continue",
        risks_money=False, rests_on_absence=False, stops_at_step=True,
    )
    HUNG = _Record(
        "hung", "Hung", "wait", "hourglass", "open", "continue",
        risks_money=False, rests_on_absence=False, stops_at_step=True,
    )
    NEXT_STEP_MISSING = _Record(
        "next_step_missing", "Next step missing", "alarm", "gap", "open", "continue",
        risks_money=False, rests_on_absence=True, stops_at_step=True,
    )
    NEVER_CLOSED = _Record(
        "never_closed", "Never closed", "wait", "open", "open", "close",
        risks_money=False, rests_on_absence=True, stops_at_step=False,
    )
    # fmt: on

    _value_: str
    label: str
    """The text that users see."""
    tone: Tone
    icon: str
    """The dashboard's icon."""
    scope: Scope
    remedy: Remedy
    risks_money: bool
    """Whether it says by itself that money moved, or may have moved, that should not stay so."""
    rests_on_absence: bool
    """Whether it claims that something was not received. It is then certain only after a reported shutdown."""
    stops_at_step: bool
    """Whether the saga waits at one step, in which other sagas may succeed."""

    def __new__(cls, *fields: object) -> Self:
        """Creates the member from the fields of its `_Record`."""
        record = _Record(*fields)  # type: ignore[arg-type]  # an enum passes a tuple as positional arguments
        member = str.__new__(cls, record.code)
        member._value_ = record.code
        vars(member).update(record._asdict())
        return member
