"""Which word, colour and shape stand for each state. No colour is ever the only sign."""

from typing import Final, Literal, NamedTuple

from sagascope_collector.client.schemas import AttentionCode

Tone = Literal["alarm", "wait", "work", "good", "undo", "idle"]
"""A colour by what it means; `theme` in ``.streamlit/config.toml`` says how it looks in light and dark."""


class Sign(NamedTuple):
    """A state as it is shown: its word, its colour, its shape."""

    word: str
    tone: Tone
    icon: str


STATUS: Final = {
    "running": Sign("Running", "work", "play"),
    "compensating": Sign("Compensating", "undo", "undo"),
    "completed": Sign("Completed", "good", "check"),
    "compensated": Sign("Compensated", "undo", "undone"),
    "failed": Sign("Failed", "alarm", "cross"),
}

ATTENTION: Final = {code.value: Sign(code.label, code.tone, code.icon) for code in AttentionCode}
"""In the contract's order: where several hold, the first is reported."""

STEP: Final = {
    "not_started": Sign("Not started", "idle", "dot"),
    "not_seen": Sign("Not seen", "idle", "question"),
    "in_flight": Sign("In progress", "work", "play"),
    "done": Sign("Done", "good", "check"),
    "failed": Sign("Failed", "alarm", "cross"),
    "unknown": Sign("Outcome unknown", "wait", "question"),
    "compensated": Sign("Compensated", "undo", "undone"),
}

ATTEMPT: Final = {
    "in_flight": Sign("In progress", "work", "play"),
    "ok": Sign("Succeeded", "good", "check"),
    "error": Sign("Failed", "alarm", "cross"),
    "unknown": Sign("Outcome unknown", "wait", "question"),
}

LEDGER: Final = {
    "committed": Sign("Committed", "alarm", "open"),
    "compensated": Sign("Compensated", "undo", "undone"),
    "compensating": Sign("Being compensated", "undo", "undo"),
    "compensation_failed": Sign("Compensation failed", "alarm", "cross"),
    "compensation_unknown": Sign("Compensation unknown", "wait", "question"),
    "unknown": Sign("Unknown", "wait", "question"),
    "not_compensable": Sign("Not compensable", "idle", "dot"),
    "not_done": Sign("Not done", "idle", "dot"),
}

INCIDENT: Final = {
    "open": Sign("Open", "alarm", "open"),
    "acknowledged": Sign("Acknowledged", "work", "check"),
    "resolved": Sign("Over", "good", "check"),
}

FAILURE_RATE: Final = Sign("More fail than usual", "alarm", "cross")
"""The sign of an incident whose sagas ended properly, but failed or were compensated more often than usual."""

SCOPE: Final = {
    "systemic": Sign("No other saga succeeds", "alarm", "cross"),
    "isolated": Sign("Others succeed", "idle", "play"),
}

CONFIDENCE: Final = {"certain": "certain", "likely": "likely", "possible": "only possible"}

STRANGE: Final = Sign("Unknown", "idle", "question")
"""For a state that a later collector knows and this dashboard does not."""


def severity(attention: str | None) -> int:
    """Rank of a reason, 0 the worst; a reason that is not known here comes after those that are."""
    order = list(ATTENTION)
    return order.index(attention) if attention in order else len(order)
