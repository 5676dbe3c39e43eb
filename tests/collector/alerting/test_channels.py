"""Channels against a real receiver, when its answers or the clock of this machine are wrong."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.channels import CHANNELS, Channel, Connection, Sender
from sagascope_collector.alerting.rules import Receiver as AlertReceiver, ReceiverType
from sagascope_collector.durations import NANOSECONDS_PER_SECOND as SECOND
from sagascope_collector.incident_records import AlertState, Notification, Pending
from support.webhook import Receiver, receiver

NOW = 1_790_000_000 * SECOND
HOUR = 3_600 * SECOND


@pytest.fixture
def pager() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


class Records:
    """The notifications in memory."""

    def __init__(self, *events: str) -> None:
        document = json.dumps(messages.build_test_message(NOW))
        self.known = {each: Pending(Notification(each, "pager", NOW, each, document), 0, NOW) for each in events}

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def states(self) -> Sequence[AlertState]:
        return ()

    def put(self, states: Sequence[AlertState], notifications: Sequence[Notification]) -> None:
        raise NotImplementedError

    def pending(self) -> Sequence[Pending]:
        return list(self.known.values())

    def claim(self, id_: str, seconds: float) -> bool:
        return True

    def delivered(self, id_: str, at: int) -> None:
        del self.known[id_]

    def failed(self, id_: str, next_attempt_at: int | None, error: str) -> None:
        pending = self.known.pop(id_)
        if next_attempt_at is not None:
            self.known[id_] = Pending(pending.notification, pending.attempts + 1, next_attempt_at)


def channel(pager: Receiver, records: Records, clock: list[int], type_: str = "webhook") -> Channel:
    to = AlertReceiver(name="pager", url=pager.url, type=ReceiverType(type_))
    return CHANNELS[to.type](Connection(to, Sender({}), records, lambda _: [], lambda: clock[-1]))


@pytest.mark.parametrize("type_", ["webhook", "alertmanager"])
def test_what_failed_is_sent_again_although_the_clock_was_set_back(pager: Receiver, type_: str) -> None:
    records, clock = Records("opened"), [NOW]
    pager.answer = lambda _: (503, {})
    to = channel(pager, records, clock, type_)
    to.deliver()
    pager.answer = lambda _: (200, {})
    to.deliver()
    assert (len(pager.calls), len(records.known)) == (1, 1)  # it waits for its backoff
    clock.append(NOW - HOUR)
    to.deliver()
    assert (len(pager.calls), len(records.known)) == (2, 0)


def test_alertmanager_is_sent_what_is_new_although_the_clock_was_set_back(pager: Receiver) -> None:
    records, clock = Records("opened"), [NOW]
    to = channel(pager, records, clock, "alertmanager")
    to.deliver()
    clock.append(NOW - HOUR)
    records.known = Records("resolved").known
    to.deliver()
    assert (len(pager.calls), len(records.known)) == (2, 0)


def test_what_alertmanager_does_not_accept_is_logged_once_and_given_up_after_a_day(
    pager: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    records, clock = Records("opened"), [NOW]
    pager.answer = lambda _: (503, {})
    to = channel(pager, records, clock, "alertmanager")
    for hours in (0, 1, 25):
        clock.append(NOW + hours * HOUR)
        to.deliver()
    assert (len(pager.calls), len(records.known)) == (3, 0)
    assert caplog.text.count("Notifying receiver 'pager' failed") == 1
