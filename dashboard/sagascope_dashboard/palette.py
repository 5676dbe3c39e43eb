"""The label, colour and icon of each state. Colour is never the only difference."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from sagascope_collector.client.schemas import AttentionCode, SagaSummary

Tone = Literal["alarm", "wait", "work", "good", "compensate", "idle"]
"""A colour by its meaning. `theme` in ``.streamlit/config.toml`` sets its shades for light and dark."""


class Style(NamedTuple):
    """A state as it is shown: its label, its colour, its icon."""

    label: str
    tone: Tone
    icon: str


STATUS: Final = {
    "running": Style("Running", "work", "play"),
    "compensating": Style("Compensating", "compensate", "compensating"),
    "completed": Style("Completed", "good", "check"),
    "compensated": Style("Compensated", "compensate", "compensated"),
    "failed": Style("Failed", "alarm", "cross"),
}

BY_STATUS: Final = dict(reversed(STATUS.items()))
"""From the axis of a chart on: what failed stands on it."""

ATTENTION: Final = {code.value: Style(code.label, code.tone, code.icon) for code in AttentionCode}
"""In the contract's order: where several hold, the first is reported."""

STEP: Final = {
    "not_started": Style("Not started", "idle", "dot"),
    "not_seen": Style("Not seen", "idle", "question"),
    "in_flight": Style("In progress", "work", "play"),
    "done": Style("Done", "good", "check"),
    "failed": Style("Failed", "alarm", "cross"),
    "unknown": Style("Outcome unknown", "wait", "question"),
    "compensated": Style("Compensated", "compensate", "compensated"),
}

ATTEMPT: Final = {
    "in_flight": Style("In progress", "work", "play"),
    "ok": Style("Succeeded", "good", "check"),
    "error": Style("Failed", "alarm", "cross"),
    "unknown": Style("Outcome unknown", "wait", "question"),
}

LEDGER: Final = {
    "committed": Style("Committed", "alarm", "open"),
    "compensated": Style("Compensated", "compensate", "compensated"),
    "compensating": Style("Being compensated", "compensate", "compensating"),
    "compensation_failed": Style("Compensation failed", "alarm", "cross"),
    "compensation_unknown": Style("Compensation unknown", "wait", "question"),
    "unknown": Style("Unknown", "wait", "question"),
    "not_compensable": Style("Not compensable", "idle", "dot"),
    "not_done": Style("Not done", "idle", "dot"),
    "not_seen": Style("No effect seen", "idle", "question"),
}

INCIDENT: Final = {
    "open": Style("Open", "alarm", "open"),
    "acknowledged": Style("Acknowledged", "work", "check"),
    "resolved": Style("Resolved", "good", "check"),
}

FAILURE_RATE: Final = Style("More fail than usual", "alarm", "cross")
"""The style of an incident whose sagas ended, but failed or were compensated more often than usual."""

SCOPE: Final = {
    "systemic": Style("No others succeed", "alarm", "cross"),
    "isolated": Style("Others succeed", "idle", "play"),
}

CONFIDENCE: Final = {"certain": "certain", "likely": "likely", "possible": "only possible"}

REPORTING: Final = Style("Reporting", "good", "check")
NOT_REPORTING: Final = Style("Not reporting", "idle", "unplugged")
NOT_REPORTING_IN_FLIGHT: Final = Style("Not reporting, work in flight", "alarm", "unplugged")

COMPLETE: Final = Style("Complete", "good", "check")
INCOMPLETE: Final = Style("Incomplete", "wait", "mark")
LOSING_RECORDS: Final = Style("Loses records", "alarm", "cross")

UP_TO_DATE: Final = Style("Up to date", "good", "check")
BEHIND: Final = Style("Behind", "wait", "mark")
BLOCKED: Final = Style("Blocked", "alarm", "cross")

SENDERS: Final = (
    *(REPORTING, NOT_REPORTING, NOT_REPORTING_IN_FLIGHT),
    *(COMPLETE, INCOMPLETE, LOSING_RECORDS),
    *(UP_TO_DATE, BEHIND, BLOCKED),
)
"""The states of processes, of the telemetry of services, and of bridges."""

UNKNOWN_STATE: Final = Style("Unknown", "idle", "question")
"""For states that only a newer collector knows."""


def saga_style(saga: SagaSummary) -> Style:
    """Returns the style of a saga: of the reason why it needs attention, else of its status."""
    return ATTENTION.get(saga.attention, UNKNOWN_STATE) if saga.attention else STATUS.get(saga.status, UNKNOWN_STATE)


def shades(styles: Mapping[str, Style], colors: Mapping[Tone, str], text: str, background: str) -> dict[str, str]:
    """Returns a colour for each state, by its tone; of several with one tone, from strong to pale."""
    found: dict[str, str] = {}
    for tone, color in colors.items():
        of_tone = [code for code, style in styles.items() if style.tone == tone]
        for index, code in enumerate(of_tone):
            share = (index + 1) / len(of_tone) - 0.5 if len(of_tone) > 1 else 0
            found[code] = mixed(color, background if share > 0 else text, 0.9 * abs(share))
    return found


def mixed(color: str, other: str, share: float) -> str:
    """Returns a colour with a share of another one in it."""
    parts = zip(bytes.fromhex(color.lstrip("#")), bytes.fromhex(other.lstrip("#")), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in parts).hex()
