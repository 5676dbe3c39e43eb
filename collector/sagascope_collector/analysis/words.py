"""Words for moments, processes, amounts and errors."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sagascope_collector.analysis.identity import UNKNOWN
from sagascope_collector.analysis.model import Saga
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.analysis.wording import Text, Time, joined
from sagascope_collector.records import Process

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_ERROR_CHARACTERS = 120
"""Characters of an error's message that a sentence carries."""


def day(at: int) -> datetime:
    """A moment as a datetime, cut to the second."""
    return _EPOCH + timedelta(seconds=at // SECOND)


def clock(at: int, now: int) -> Text:
    """A moment in UTC as it is shown at another: ``14:02:11Z``, with its date unless that is the other's."""
    then, today = day(at), day(now)
    if then.date() == today.date():
        return Text(Time(at, f"{then:%H:%M:%S}Z"))
    year = "" if then.year == today.year else f" {then.year}"
    return Text(Time(at, f"{then.day} {then:%b}{year} {then:%H:%M:%S}Z"))


def dated(at: int) -> Text:
    """A moment in UTC with its date, for sentences that are kept: ``21 Nov 2026 14:02:11Z``."""
    then = day(at)
    return Text(Time(at, f"{then.day} {then:%b %Y %H:%M:%S}Z"))


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


def listing(names: Sequence[str], limit: int = 5) -> Text:
    """Names as a sentence lists them: ``a, b and c``; beyond the limit ``a, b, c and 7 more``."""
    if len(names) > limit:
        names = [*names[: limit - 1], f"{len(names) - limit + 1:,} more"]
    if len(names) < 2:
        return Text(*names)
    return Text(joined(", ", names[:-1]), " and ", names[-1])


def shortened(text: str) -> str:
    """The first line of an error, as far as a sentence can carry it."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_ERROR_CHARACTERS else f"{line[: MAX_ERROR_CHARACTERS - 1]}…"


def times(number: int) -> str:
    """How often: ``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def transaction(name: str) -> str:
    """A saga type as sentences name it; one that is not known yet is a ``transaction``."""
    return "transaction" if name == UNKNOWN else name


def business(saga: Saga) -> str:
    """The saga's type as sentences name it: as received, else as inferred, else ``transaction``."""
    return saga.inferred_name or transaction(saga.key.name)


def identified(saga: Saga) -> str:
    """The saga as people name it: ``payment 8492``."""
    return f"{business(saga)} {saga.key.id}"
