"""A bridge to Temporal, and what a collector says of payments that it tells of."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support.clients import running
from support.collector import RunningCollector
from support.samples import wait_until


@contextmanager
def bridging(address: str, api: str, folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A bridge that runs; killed at the end if it still does."""
    command = [sys.executable, "-m", "sagascope_collector", "bridge", "temporal", "--address", address, "--url", api]
    more = ["--every", "0.2", "--cursor", str(folder / "cursor.json"), "--undoes", "refund=charge", *options]
    with running(*command, *more, log=folder / "bridge.log") as bridge:
        yield bridge


def once(collector: RunningCollector, saga: str, found: Callable[[Any], object], name: str = "Payment") -> Any:
    """The saga as soon as it is so."""
    seen: Any = None

    def look() -> Any:
        nonlocal seen
        answer = httpx.get(f"{collector.api}/api/v1/saga", params={"name": name, "id": saga}, trust_env=False)
        seen = answer.json() if answer.status_code == 200 else None
        return seen if seen and found(seen) else None

    try:
        return wait_until(look, f"{saga} was never so")
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen}") from None


def headline(saga: Any) -> str:
    """What is said of it."""
    return str(saga["headline"])


def says(text: str) -> Callable[[Any], bool]:
    """Whether the headline has these words."""
    return lambda saga: text in headline(saga)


def shape(saga: Any) -> list[Any]:
    """The steps that began; others may have been learned from other payments."""
    return [(step["name"], step["type"], step["state"]) for step in saga["steps"] if step["attempts"]]
