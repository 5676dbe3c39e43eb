"""What a bridge says of itself to Prometheus."""

import httpx

from sagascope_collector.bridges import metrics
from sagascope_collector.bridges.running import Health
from sagascope_collector.settings import Address


def test_a_bridge_s_lag_is_measured_until_all_was_told() -> None:
    health = Health(watching=3, told=7)
    health.current_at -= 12.5
    with metrics.served(health, "sql", Address("127.0.0.1", 0)) as url:
        assert url is not None
        text = httpx.get(url, trust_env=False).text
        assert httpx.get(f"{url}/other", trust_env=False).status_code == 404
    said = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(said['sagascope_bridge_lag_seconds{bridge="sql"}']) >= 12.5
    assert said['sagascope_bridge_watching{bridge="sql"}'] == "3"
    assert said['sagascope_bridge_records_told_total{bridge="sql"}'] == "7"


def test_without_an_address_nothing_is_served() -> None:
    with metrics.served(Health(), "sql", None) as url:
        assert url is None
