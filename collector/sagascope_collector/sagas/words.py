"""Plain words for moments, processes, amounts and lists of names."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sagascope_collector.records import Process
from sagascope_collector.sagas.values import SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_ERROR = 120
"""Characters of an error's message that a sentence carries."""


def day(at: int) -> datetime:
    """A moment as a datetime, cut to the second."""
    return _EPOCH + timedelta(seconds=at // SECOND)


def clock(at: int, now: int) -> str:
    """A moment as people say it at another: the time, and the date if it is not today's."""
    then, today = day(at), day(now)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    written = f"{then.day} {then:%b %H:%M:%S}"
    return written if then.year == today.year else f"{then.day} {then:%b %Y %H:%M:%S}"


def dated(at: int) -> str:
    """A moment with its date, for what is kept and not said anew each day."""
    then = day(at)
    return f"{then.day} {then:%b %Y at %H:%M:%S}"


def midnight_after(now: int) -> int:
    """The next moment at which "today" is another day."""
    length = 86_400 * SECOND
    return (now // length + 1) * length


def who(process: Process) -> str:
    """A process by the name that people know."""
    service, instance = process.service, process.instance
    if not instance:
        return service or "an unnamed service"
    if not service or instance.startswith(service):
        return instance
    return f"{service} ({instance})"


def money(amount: Decimal, currency: str | None) -> str:
    """An amount with its currency, for example ``EUR 50.00``."""
    return f"{currency} {amount:f}" if currency else f"{amount:f}"


def listing(names: Sequence[str]) -> str:
    """Names as a sentence lists them: ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence(text: str) -> str:
    """A text that begins with a capital letter and ends with a full stop; names keep their spelling."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def shortened(text: str) -> str:
    """The first line of an error, as far as a sentence can carry it."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 1]}…"


def times(number: int) -> str:
    """How often: ``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
