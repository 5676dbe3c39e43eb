"""Values and states as people read them: untrusted text, durations, times, amounts; label, colour and icon. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple

from sagascope_collector.client import schemas
from sagascope_collector.client.schemas import AttentionCode, SagaSummary

MAX_LINE_CHARACTERS = 300
"""Characters of one value on a line; the rest is cut, visibly."""

MAX_BLOCK_CHARACTERS = 20_000
"""Characters of a block of text, for example a stack trace."""

_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "UAH": "₴", "ILS": "₪"}
_UNITS = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def line(value: Any, limit: int = MAX_LINE_CHARACTERS) -> str:
    """Returns any received value as one line in which nothing can steer the page or terminal.

    Control characters and those that reorder text become their escapes, lists and objects become JSON, and what is
    longer than `limit` is cut visibly.
    """
    if isinstance(value, str) and len(value) <= limit and value.isascii() and value.isprintable():
        return " ".join(value.split())  # as below, and a large saga has some 100,000 of these
    return " ".join(_cut(_escape_controls(_text(value, limit)), limit).split())


def block(value: Any, limit: int = MAX_BLOCK_CHARACTERS) -> str:
    """Returns any received value as lines of text, escaped as by `line`; line breaks and tabs stay."""
    return _cut(_escape_controls(_text(value, limit).replace("\r\n", "\n")), limit)


def _text(value: Any, limit: int) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # A little more than is shown, so that the cut is still seen; the length is counted from the value itself.
        return value if len(value) <= 2 * limit else f"{value[:limit]}{_remainder(len(value) - limit)}"
    return _text(json.dumps(value, ensure_ascii=False, default=str), limit)


def _escape_controls(text: str) -> str:
    """Replaces control characters, and those that reorder or hide text, by their escapes."""
    return _CONTROL_CHARACTERS.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _cut(text: str, limit: int) -> str:
    # `_text` may have cut it before
    if len(text) <= limit or re.search(r"… \(\d[\d,]* more characters\)$", text):
        return text
    return f"{text[:limit]}{_remainder(len(text) - limit)}"


def _remainder(count: int) -> str:
    return f"… ({count:,} more characters)"


MIN_SHOWN_MS = 0.01
"""What is shorter is shown as 0 ms."""


def duration(seconds: float) -> str:
    """Returns a duration in at most two units: ``40 ms``, ``2.4 s``, ``12 min``, ``3 h 10 min``."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    milliseconds = seconds * 1000
    if milliseconds < 999.5:  # what is above is rounded to 1 s, not to 1000 ms
        is_whole = milliseconds >= 10 or milliseconds < MIN_SHOWN_MS
        return f"{milliseconds:.0f} ms" if is_whole else f"{milliseconds:.2g} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return _in_units(round(seconds))


def took(started: datetime, ended: datetime | None) -> str:
    """Returns how long something took; empty while it is open."""
    return duration((ended - started).total_seconds()) if ended else ""


def _in_units(seconds: int) -> str:
    for index, (name, size) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            words = [_count(count, name)]
            smaller = _UNITS[index + 1] if index + 1 < len(_UNITS) else None
            if smaller and count < 10 and rest >= smaller[1]:
                words.append(_count(rest // smaller[1], smaller[0]))
            return " ".join(words)
    return "0 s"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}s" if unit == "day" and number != 1 else f"{number:,} {unit}"


def iso(moment: datetime) -> str:
    """Returns a time in ISO 8601, UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime | None:
    """Returns a time in ISO 8601; None for a text that is none. Without a zone it is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local_time(moment: datetime, now: datetime) -> str:
    """Returns a time in the zone of `now`, with a date where it is another day."""
    local = moment.astimezone(now.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local.day} {local:%b %Y, %H:%M:%S}"


def sentence_parts(text: str, parts: schemas.Parts, limit: int = MAX_LINE_CHARACTERS) -> list[str | datetime]:
    """Returns the texts and times of a received sentence, each text as `line` returns it, cut at about `limit`."""
    shown: list[str | datetime] = []
    left = limit
    for part in parts:
        if isinstance(part, schemas.TimePart):
            shown.append(part.time)
        elif left > 0:
            edges = [" " if edge.isspace() else "" for edge in (part.text[:1], part.text[-1:])]
            shown.append(line(part.text, left).join(edges) if part.text.strip() else " ")
            left -= len(part.text)
    return shown or [line(text, limit)]


def local_sentence(text: str, parts: schemas.Parts, now: datetime, limit: int = MAX_LINE_CHARACTERS) -> str:
    """Returns a received sentence with its times in the zone of `now`, with a date where it is another day."""
    shown = sentence_parts(text, parts, limit)
    return "".join(part if isinstance(part, str) else local_time(part, now) for part in shown)


def epoch_ms(moment: datetime) -> float:
    """Returns milliseconds since the Unix epoch, to the microsecond."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400_000_000 + delta.seconds * 1_000_000 + delta.microseconds) / 1000


def amount(value: str | None, currency: str | None) -> str:
    """Returns an amount as on a bill: ``€1,250.00``, ``12 XAU``; a value that is not a number stays unchanged."""
    if value is None:
        return ""
    try:
        number = f"{Decimal(value):,f}"
    except InvalidOperation:
        number = line(value, 40)
    symbol = _SYMBOLS.get(currency or "")
    if symbol:
        return f"-{symbol}{number[1:]}" if number.startswith("-") else f"{symbol}{number}"
    return f"{number} {line(currency, 10)}".strip()


def plural(number: int, one: str, many: str | None = None) -> str:
    """Returns a count with its noun: ``1 saga``, ``3 sagas``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def amounts_at_risk(amounts: Sequence[schemas.AmountAtRisk]) -> tuple[str, ...]:
    """Returns the amounts at risk as texts: ``€50.00 committed``, ``up to €50.00 at risk``."""
    return tuple(phrase for each in amounts for phrase in _amount_texts(each))


def _amount_texts(at_risk: schemas.AmountAtRisk) -> list[str]:
    certain, possible = to_decimal(at_risk.certain), to_decimal(at_risk.possible)
    texts = [f"{amount(at_risk.certain, at_risk.currency)} committed"] if certain else []
    if possible:
        texts.append(f"up to {amount(at_risk.possible, at_risk.currency)} {'more ' if certain else ''}at risk")
    return texts


def to_decimal(value: str) -> Decimal:
    """Returns a decimal string as a number; 0 for an invalid one."""
    try:
        return Decimal(value)
    except InvalidOperation:
        return Decimal(0)


def step_and_service(step: str | None, service: str | None) -> str:
    """Returns a step and its service: ``ledger.record in ledger``, or the one that is known."""
    return " in ".join(line(part, 80) for part in (step, service) if part)


# --- states ----------------------------------------------------------------------------------------
# A state is told by its label and its icon too, never by its colour alone.

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
"""In the order of a stacked bar, from the axis up: failed ones first."""

ATTENTION: Final = {code.value: Style(code.label, code.tone, code.icon) for code in AttentionCode}
"""In the order of precedence: where several hold, the first is reported."""

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
