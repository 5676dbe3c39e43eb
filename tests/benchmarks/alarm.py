"""From the moment that makes a saga stuck until the webhook is called, and incidents over many open sagas.

A real collector and a real receiver. Each saga hangs in a step of its own, so that each makes an incident and a
notification; the moment is the end of the time that its step was given. One second of the wait is given to telemetry
that may be under way. `CALLS` says how many there are.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from report import table

from support.collector import running_collector
from support.payments import Tried, saga, send, soon
from support.webhook import receiver

CALLS = int(os.environ.get("CALLS", "80"))
GIVEN = 2.0
"""Seconds that each step is given."""

BETWEEN = 0.137


def main() -> str:
    """A table of seconds."""
    waits = sorted(_waits())
    cells = (f"{statistics.median(waits):.2f}", f"{waits[round(0.95 * len(waits)) - 1]:.2f}", f"{waits[-1]:.2f}")
    return table(
        ("what", "bound", "p50 s", "p95 s", "max s", "number"),
        [("stuck until the webhook is called", "2 s", *cells, str(len(waits)))],
    )


def _waits() -> Iterator[float]:
    with tempfile.TemporaryDirectory() as name, receiver() as pager:
        file = Path(name) / "alerts.yaml"
        rules = {"webhooks": [{"name": "pager", "url": pager.url}], "rules": [{"name": "any"}]}
        file.write_text(yaml.safe_dump(rules))
        stuck: dict[str, float] = {}
        with running_collector(Path(name), "--alerts", str(file)) as collector:
            for number in range(CALLS):
                step, now = f"step.{number:03}", time.time_ns()
                hangs = Tried(step, "ledger", 0.0, None, attributes={"saga.step.timeout": GIVEN})
                send(collector, *saga(f"s-{number}", (hangs,), ago=0.0, now=now))
                stuck[step] = now / 1e9 + GIVEN
                time.sleep(BETWEEN)
            soon(lambda: len(pager.calls) >= CALLS, seconds=60)
        for call in pager.calls:
            yield call.at - stuck[call.body["incident"]["step"]]
