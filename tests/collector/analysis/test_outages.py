"""Services that stop reporting at once are one outage of telemetry; a few that do were lost one by one."""

from collections.abc import Mapping

import pytest

from sagascope_collector.analysis import Context, outages
from sagascope_collector.analysis.context import is_alive
from sagascope_collector.records import Heartbeat, Instance, Process

SECOND = 1_000_000_000
NOW = 1_000_000 * SECOND
REPORTS, STOPPED = 2.0, 120.0


def instance(service: str, ago: float, *, name: str = "1", lag: float | None = None, final: bool = False) -> Instance:
    """A process that was last seen so many seconds ago."""
    at = NOW - round(ago * SECOND)
    beat = Heartbeat(at, 5.0, 1, frozenset(), complete=True, dropped=0, final=final)
    known_lag = None if lag is None else round(lag * SECOND)
    return Instance(Process("", service, "", f"{service}-{name}", f"{service}-{name}"), at, at, beat, lag=known_lag)


@pytest.mark.parametrize(
    ("seen", "is_outage"),
    [
        ({"a": STOPPED}, False),
        ({"a": STOPPED, "b": STOPPED}, True),
        ({"a": STOPPED, "b": STOPPED, "c": REPORTS}, False),
        ({"a": STOPPED, "b": STOPPED, "c": REPORTS, "d": REPORTS}, False),
        ({"a": STOPPED, "b": STOPPED, "c": STOPPED, "d": REPORTS}, True),
        ({"a": STOPPED, "b": STOPPED, "c": STOPPED, "d": STOPPED}, True),
        ({"a": STOPPED, "b": STOPPED, "c": STOPPED, "d": REPORTS, "e": REPORTS, "f": REPORTS}, False),
        ({"a": 600.0, "b": STOPPED, "c": 3_600.0, "d": REPORTS}, False),
        ({"a": REPORTS, "b": REPORTS, "c": REPORTS}, False),
    ],
)
def test_most_services_at_once_are_an_outage(seen: Mapping[str, float], *, is_outage: bool) -> None:
    found = outages([instance(service, ago) for service, ago in seen.items()], Context(NOW))
    assert bool(found) == is_outage


def test_a_service_of_which_one_process_reports_still_reports() -> None:
    stopped = [instance(service, STOPPED) for service in "abcd"]
    assert outages(stopped, Context(NOW))
    others = [instance(service, REPORTS, name="2") for service in "ab"]
    assert not outages([*stopped, *others], Context(NOW))


def test_services_that_shut_down_are_no_outage() -> None:
    assert not outages([instance(service, STOPPED, final=True) for service in "abcd"], Context(NOW))


def test_a_clock_that_is_behind_is_no_outage() -> None:
    behind = [instance(service, 242.0, lag=240.0) for service in "abcd"]
    assert not outages(behind, Context(NOW))
    assert all(is_alive(each, Context(NOW)) for each in behind)
    killed = instance("a", 300.0, lag=240.0)
    assert not is_alive(killed, Context(NOW))
