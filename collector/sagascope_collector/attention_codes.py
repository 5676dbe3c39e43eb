"""The attention codes: one record for each, shared by diagnosis, API, alerts, command line and dashboard.

`analysis.diagnosis.RULES` defines the rule, the headline and the actions of each code.
"""

from enum import StrEnum
from typing import Literal, Self

Tone = Literal["alarm", "wait"]
"""The colour of a code: ``alarm`` if the saga stays in error, ``wait`` if it may still succeed."""

Scope = Literal["open", "not completed", "all"]
"""The sagas to which a code applies: open ones, also ended ones that did not complete, or all."""


class AttentionCode(StrEnum):
    """Why a saga needs attention. If several codes apply, the first in this order is reported."""

    APPLIED_TWICE = "applied_twice", "Executed twice", "alarm", "twice", "all"
    COMPENSATION_FAILED = "compensation_failed", "Compensation failed", "alarm", "cross", "not completed"
    UNCOMPENSATED = "uncompensated", "Not compensated", "alarm", "open", "not completed", True
    MIXED_OUTCOME = "mixed_outcome", "Mixed outcome", "alarm", "twice", "all"
    IN_DOUBT = "in_doubt", "In doubt", "alarm", "question", "not completed", True
    BLOCKED = "blocked", "Blocked", "alarm", "hourglass", "open", False, True
    INSTANCE_LOST = "instance_lost", "Instance lost", "alarm", "unplugged", "open", True, True
    RETRYING = "retrying", "Retrying", "wait", "again", "open", False, True
    HUNG = "hung", "Hung", "wait", "hourglass", "open", False, True
    NEXT_STEP_MISSING = "next_step_missing", "Next step missing", "alarm", "gap", "open", True, True
    NEVER_CLOSED = "never_closed", "Never closed", "wait", "open", "open", True

    _value_: str
    label: str
    """The text that users see."""
    tone: Tone
    icon: str
    """The dashboard's icon."""
    scope: Scope
    rests_on_absence: bool
    """Whether it claims that something was not received. It is then certain only after a reported shutdown."""
    stops_at_step: bool
    """Whether the saga waits at one step, in which other sagas may succeed."""

    def __new__(
        cls,
        code: str,
        label: str,
        tone: Tone,
        icon: str,
        scope: Scope,
        rests_on_absence: bool = False,
        stops_at_step: bool = False,
    ) -> Self:
        """Creates one record."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.label, member.tone, member.icon, member.scope = label, tone, icon, scope
        member.rests_on_absence, member.stops_at_step = rests_on_absence, stops_at_step
        return member
