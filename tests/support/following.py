"""Runs a bridge to Temporal, and reads the payments that it reports from a collector."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support import preloaded
from support.collector import RunningCollector
from support.samples import wait_until


@contextmanager
def bridging(address: str, api: str, folder: Path, *options: str) -> Iterator[preloaded.Process]:
    """Runs a bridge, and kills it at the end."""
    command = ["bridge", "temporal", "--address", address, "--url", api]
    more = ["--every", "0.2", "--cursor", str(folder / "cursor.json"), "--compensation", "refund=charge", *options]
    with preloaded.running("sagascope_collector", *command, *more, log=folder / "bridge.log") as bridge:
        yield bridge


def once(
    collector: RunningCollector,
    saga: str,
    found: Callable[[Any], object],
    name: str = "Payment",
    run: str | None = None,
) -> Any:
    """Returns a saga, or one run of it, once `found` holds."""
    shown: Any = None
    params = {"name": name, "id": saga, **({"run": run} if run else {})}

    def matching() -> Any:
        nonlocal shown
        answer = httpx.get(f"{collector.api}/api/v1/saga", params=params, trust_env=False, timeout=60)
        shown = answer.json() if answer.status_code == 200 else None
        return shown if shown and found(shown) else None

    try:
        return wait_until(matching, f"{saga} never met the condition")
    except AssertionError as error:
        raise AssertionError(f"{error}: {shown}") from None


def headline(saga: Any) -> str:
    """Returns the headline of a saga."""
    return str(saga["headline"])


def headline_contains(text: str) -> Callable[[Any], bool]:
    """Returns a condition: the headline contains this text."""
    return lambda saga: text in headline(saga)


def shape(saga: Any) -> list[Any]:
    """Returns the steps with attempts; others come from the plan that was learned from other payments."""
    return [(step["name"], step["type"], step["state"]) for step in saga["steps"] if step["attempts"]]
