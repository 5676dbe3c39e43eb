"""`sagascope bridge sql` beside a collector, and the sagas that the collector makes of the rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support import preloaded
from support.collector import RunningCollector
from support.postgres import Server
from support.samples import wait_until

COMMAND = ("bridge", "sql")


@contextmanager
def bridging(
    server: Server, collector: RunningCollector, folder: Path, *options: str, mapping: str = "sagas"
) -> Iterator[preloaded.Process]:
    """Runs a bridge, and kills it at the end."""
    command = [*COMMAND, "--dsn", server.dsn("shop"), "--mapping", mapping, "--url", collector.api, "--every", "0.1"]
    cursor = ["--cursor", str(folder / "cursor.json")]
    with preloaded.running("sagascope_collector", *command, *cursor, *options, log=folder / "bridge.log") as process:
        yield process


def show(collector: RunningCollector, saga: str, name: str = "payment") -> dict[str, Any]:
    """Returns the saga from the API; an empty dictionary if it is unknown."""
    answer = httpx.get(f"{collector.api}/api/v1/saga", params={"name": name, "id": saga}, trust_env=False, timeout=60)
    return answer.json() if answer.status_code == 200 else {}


def wait_for(collector: RunningCollector, saga: str, name: str = "payment", **wanted: Any) -> dict[str, Any]:
    """Returns the saga once its fields have these values."""

    def matching() -> dict[str, Any] | None:
        shown = show(collector, saga, name)
        return shown if shown and all(shown[key] == value for key, value in wanted.items()) else None

    try:
        return wait_until(matching, f"{saga} never had {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {show(collector, saga, name)}") from None


def states(saga: dict[str, Any]) -> dict[str, list[str]]:
    """Returns the states of the attempts, by step."""
    return {each["name"]: [one["state"] for one in each["attempts"]] for each in saga["steps"]}
