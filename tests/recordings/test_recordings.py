"""What real systems sent while a fault was made, played to a real collector: in order, and shuffled with repeats."""

import json
import random
import re
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from support.collector import RunningCollector, running_collector
from support.scenario import differences

pytestmark = pytest.mark.xdist_group("recordings")

CASES = Path(__file__).with_name("cases")
DIAGNOSED_WITHIN_SECONDS = 15.0
"""Plans of other sagas are learned meanwhile."""

NEAR_NS = 86_400 * NANOSECONDS_PER_SECOND
"""A number of 19 digits this close to a recording's last moment is a moment, too."""


@dataclass(frozen=True)
class Recording:
    """The requests of one recording, and what is right to say of it."""

    name: str
    diagnosed_after_seconds: float
    expect: tuple[Mapping[str, Any], ...]
    options: tuple[str, ...]
    mapping: str

    def requests(self, now_ns: int) -> list[tuple[str, dict[str, Any]]]:
        """Path and body of each request, moved so that the last moment was `diagnosed_after_seconds` ago.

        Each recording gets an environment of its own, since one collector may play several.
        """
        text = (CASES / f"{self.name}.jsonl").read_text()
        stamps = [int(found) for found in re.findall(r'UnixNano":"(\d{19})"', text)]
        shift = now_ns - round(self.diagnosed_after_seconds * NANOSECONDS_PER_SECOND) - max(stamps)

        def moved(found: re.Match[str]) -> str:
            number = int(found[0])
            return str(number + shift) if abs(number - max(stamps)) < NEAR_NS else found[0]

        lines = map(json.loads, re.sub(r"(?<!\d)\d{19}(?!\d)", moved, text).splitlines())
        requests = [(line["path"], line["body"]) for line in lines]
        for _, body in requests:
            for resource in [*body.get("resourceSpans", []), *body.get("resourceLogs", [])]:
                attributes = resource.setdefault("resource", {}).setdefault("attributes", [])
                attributes.append({"key": "deployment.environment.name", "value": {"stringValue": self.name}})
        return requests


def read(path: Path) -> Recording:
    case = tomllib.loads(path.read_text())
    return Recording(
        path.stem,
        case["diagnosed_after_seconds"],
        tuple(case["expect"]),
        tuple(case.get("options", ())),
        case.get("mapping", ""),
    )


RECORDINGS = [read(path) for path in sorted(CASES.glob("*.toml"))]


@pytest.fixture(scope="module", params=[None, 1], ids=["as recorded", "shuffled and repeated"])
def collector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A way to play a recording to a collector that has its options; collectors are shared where options agree."""
    running: dict[tuple[str, ...], RunningCollector] = {}
    with ExitStack() as stack:

        def play(recording: Recording) -> RunningCollector:
            key = (recording.mapping, *recording.options)
            if key not in running:
                folder = tmp_path_factory.mktemp(recording.name)
                options = list(recording.options)
                if recording.mapping:
                    (folder / "mapping.yaml").write_text(recording.mapping)
                    options += ["--mapping", str(folder / "mapping.yaml")]
                running[key] = stack.enter_context(running_collector(folder, *options))
            sent = recording.requests(time.time_ns())
            if request.param:
                sent = random.Random(request.param).sample([*sent, *sent[::2]], len(sent) + len(sent[::2]))
            with httpx.Client(trust_env=False, timeout=30) as client:
                for path, body in sent:
                    client.post(f"{running[key].otlp_http}{path}", json=body).raise_for_status()
            return running[key]

        yield play


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_a_recording_is_diagnosed_as_what_happened(recording: Recording, collector: Any) -> None:
    api = collector(recording).api
    for expected in map(dict, recording.expect):
        params = {"name": expected.get("name", ""), "id": expected.pop("id"), "environment": recording.name}
        deadline = time.monotonic() + DIAGNOSED_WITHIN_SECONDS
        while wrong := _differences(f"{api}/api/v1/saga", params, expected):
            assert time.monotonic() < deadline, f"{params}: {wrong}"
            time.sleep(0.1)


def _differences(url: str, params: dict[str, str], expected: dict[str, Any]) -> list[str]:
    answer = httpx.get(url, params=params, trust_env=False, timeout=30)
    if answer.status_code != httpx.codes.OK:
        return [answer.text]
    return [answer.json()["headline"], *wrong] if (wrong := differences(expected, answer.json())) else []
