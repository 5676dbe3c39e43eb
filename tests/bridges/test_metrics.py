"""Prometheus metrics of a bridge."""

import httpx

from sagascope_collector.bridges import Health, serve_metrics
from sagascope_collector.settings import Address


def test_the_lag_counts_from_the_last_poll_that_left_nothing_unread() -> None:
    health = Health(in_flight=3, sent=7)
    health.caught_up_at -= 12.5
    with serve_metrics(health, "sql", Address("127.0.0.1", 0)) as url:
        assert url is not None
        text = httpx.get(url, trust_env=False, timeout=60).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['sagascope_bridge_lag_seconds{bridge="sql"}']) >= 12.5
    assert float(values['sagascope_bridge_in_flight{bridge="sql"}']) == 3
    assert float(values['sagascope_bridge_records_sent_total{bridge="sql"}']) == 7


def test_without_an_address_no_metrics_are_served() -> None:
    with serve_metrics(Health(), "sql", None) as url:
        assert url is None
