"""Telemetry that is lost is not services that are lost: real services under load, whose words do not arrive.

The services' heartbeats come each second, so that three seconds of silence are what ten minutes would be.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import yaml

from sagascope_samples.demo import Addresses
from support.collector import RunningCollector, running_collector
from support.fault_injection import STEPS, order
from support.proxy import Proxy, proxy_to
from support.samples import Samples, running_samples, wait_until
from support.webhook import Receiver, receiver

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

SILENT = 6.0
"""Seconds without telemetry: twice as long as a process may be silent."""

WITHIN = 60.0


@dataclass
class World:
    """Services under load, a collector, and a receiver of alerts."""

    collector: RunningCollector
    samples: Samples
    wire: Proxy
    pager: Receiver
    http: httpx.Client
    paid: list[str] = field(default_factory=list)

    def get(self, path: str, **asked: str) -> dict[str, Any]:
        answer = self.http.get(f"{self.collector.api}/api/v1{path}", params=asked)
        return dict(answer.raise_for_status().json())

    def needing(self) -> list[dict[str, Any]]:
        return list(self.get("/sagas", attention="any")["items"])

    def notices(self) -> list[str]:
        return [each.partition(":")[0] for each in self.get("/status")["notices"]]

    def completed(self) -> set[str]:
        return {each["id"] for each in self.get("/sagas", status="completed", limit="500")["items"]}

    def confidence(self, payment: str) -> str:
        """Of what is said of a payment now."""
        verdict = self.get(f"/sagas/payment/{payment}")["verdict"]
        return str(verdict["confidence"]) if verdict else "possible"


@contextmanager
def world(folder: Path, *cut: str) -> Iterator[World]:
    """Everything is ready; `cut` names the services whose telemetry goes by the wire, all where it names none."""
    with receiver() as pager:
        file = folder / "alerts.yaml"
        rules = [{"name": "any"}]
        file.write_text(yaml.safe_dump({"receivers": [{"name": "pager", "url": pager.url}], "rules": rules}))
        addresses = Addresses.choose({}, free=True).services
        with (
            running_collector(folder, "--alerts", str(file)) as collector,
            proxy_to(collector.otlp_http) as wire,
            running_samples(folder, telemetry=wire.url, addresses=addresses) as samples,
            httpx.Client(trust_env=False, timeout=60.0) as http,
        ):
            made = World(collector, samples, wire, pager, http)
            if cut:
                _go_straight(made, cut)
            yield made


def _go_straight(made: World, but: tuple[str, ...]) -> None:
    """Let all services send straight to the collector, but for some."""
    made.samples.telemetry = made.collector.otlp_http
    for name in [each for each in made.samples.processes if each not in but]:
        made.samples.stop(name, signal.SIGKILL)
        made.samples.start(name)
        made.samples.wait_ready(name)


@contextmanager
def load(made: World) -> Iterator[None]:
    """Payments, some each second, until the block ends."""
    over, chance = threading.Event(), Random(8492)

    def pay() -> None:
        while not over.wait(0.4):
            payment = f"p-{len(made.paid)}"
            made.samples.pay(order(payment, chance))
            made.paid.append(payment)

    paying = threading.Thread(target=pay)
    paying.start()
    try:
        wait_until(lambda: len(made.get("/sagas", status="completed")["items"]) > 5, "nothing is paid", WITHIN)
        yield
    finally:
        over.set()
        paying.join()


def stall(made: World) -> set[str]:
    """Let each service have something in flight, so that it promises to be heard each second; the payments."""
    busy = {f"stalled-{service}": service for service in STEPS}
    for payment, service in busy.items():
        made.samples.plant(service, payment, STEPS[service], "stall")
        made.samples.pay(order(payment, Random(1)))

    def promise() -> bool:
        items = made.get("/services")["items"]
        return sum(bool(each["in_flight"]) for item in items for each in item["instances"]) > len(STEPS) / 2 + 1

    wait_until(promise, "no service is busy", WITHIN)
    return set(busy)


def watch(made: World, seconds: float) -> list[dict[str, Any]]:
    """Every saga that is said to need attention within some seconds."""
    until, seen = time.monotonic() + seconds, {}
    while time.monotonic() < until:
        seen |= {(each["id"], each["attention"]): each for each in made.needing()}
        time.sleep(0.2)
    return list(seen.values())


def test_a_gateway_that_is_cut_off_is_one_notice_and_wakes_nobody(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        with load(made):
            busy = stall(made)
            made.wire.cut()
            wait_until(lambda: made.notices() == ["telemetry_lost"], f"notices: {made.notices()}", WITHIN)
            assert {made.confidence(each["id"]) for each in watch(made, SILENT)} <= {"possible"}
            assert made.notices() == ["telemetry_lost"]
            made.wire.mend()
            wait_until(lambda: made.notices() == [], f"notices: {made.notices()}", WITHIN)
            alarmed = {each for call in made.pager.calls for each in call.body["incident"]["examples"]}
            assert alarmed <= busy  # those that do hang, where the machine is slow
        wait_until(
            lambda: {each["id"] for each in made.needing()} <= busy, f"flagged: {made.needing()}, not {busy}", WITHIN
        )


def test_a_service_whose_exporter_is_broken_raises_no_alarm(tmp_path: Path) -> None:
    with world(tmp_path, "fraud") as made:
        with load(made):
            made.wire.cut()
            flagged = watch(made, SILENT)
        assert flagged == []
        assert made.notices() == []
        assert made.pager.calls == []


def test_a_collector_that_was_stopped_and_then_killed_knows_both_and_raises_no_alarm(tmp_path: Path) -> None:
    with world(tmp_path) as made, load(made):
        first = made.collector
        first.process.send_signal(signal.SIGSTOP)
        time.sleep(SILENT)
        first.process.send_signal(signal.SIGCONT)
        stopped = _raises_no_alarm(made)

        first.stop(signal.SIGKILL)
        time.sleep(SILENT)
        places = {"otlp_http": first.otlp_http.removeprefix("http://"), "api": first.api.removeprefix("http://")}
        options = ("--alerts", str(tmp_path / "alerts.yaml"))
        with running_collector(tmp_path, *options, addresses=places) as made.collector:
            assert _raises_no_alarm(made) != stopped


def _raises_no_alarm(made: World) -> list[str]:
    """What was sent meanwhile arrives now, and no alert is sent before or after; the notices."""
    missed = set(made.paid)
    assert watch(made, 4.0) == []
    wait_until(lambda: missed <= made.completed(), f"not known: {missed - made.completed()}", WITHIN)
    assert made.needing() == []
    assert made.notices() == ["ingest_outage"]
    assert made.pager.calls == []
    return list(made.get("/status")["notices"])
