"""What a row can have come to, and the words by which applications usually say so."""

import re
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """What has become of a saga or a step."""

    PENDING = "pending"
    """It has not begun."""
    STARTED = "started"
    RETRYING = "retrying"
    """The last attempt failed, and another is to come."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    SKIPPED = "skipped"
    """It was left out: nothing is told."""


ENDED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.COMPENSATED, State.COMPENSATION_FAILED, State.SKIPPED})
"""From these a row is not expected to move."""

_WORDS: Final = {
    State.PENDING: "pending created new initial ready queued scheduled waiting not_started",
    State.STARTED: "started running in_progress processing executing active in_flight open sent",
    State.RETRYING: "retrying retry backing_off retry_scheduled",
    State.SUCCEEDED: "succeeded success successful completed complete done finished ended executed ok published",
    State.FAILED: "failed failure error errored aborted rejected timed_out dead",
    State.COMPENSATING: "compensating rolling_back undoing reverting",
    State.COMPENSATED: "compensated rolled_back undone reverted cancelled canceled",
    State.COMPENSATION_FAILED: "compensation_failed undo_failed rollback_failed",
    State.SKIPPED: "skipped ignored",
}


def compared(word: str) -> str:
    """A word as it is compared: ``In Progress``, ``IN_PROGRESS`` and ``InProgress`` are one."""
    return re.sub(r"[\s_-]+", "", word).lower()


USUAL: Final = {compared(word): state for state, words in _WORDS.items() for word in words.split()}
"""States by the words that are usual for them."""
