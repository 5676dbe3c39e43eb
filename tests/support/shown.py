"""What tests show of each engine: their marks ``pytest.mark.shows(system, situation, answer)``."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]

SYSTEMS = {
    "two-phase commit": "[two-phase commit in PostgreSQL](two-phase-commit.md)",
    "nats": "[NATS](nats.md)",
    "kafka": "[Kafka](kafka.md)",
    "rabbitmq": "[RabbitMQ](amqp.md)",
    "temporal plugin": "[Temporal](temporal.md), with Sagascope's plugin",
    "temporal bridge": "[Temporal](temporal.md), with the bridge",
    "temporal interceptor": "[Temporal](temporal.md), with its own interceptor",
    "tables": "[a state table](state-tables.md), an outbox",
    "dbos": "[DBOS](dbos.md), its tables and spans",
    "celery": "[Celery](celery.md)",
    "opentelemetry": "[plain OpenTelemetry](attribute-mapping.md#whole-traces)",
}
"""The rows of the table."""

SITUATIONS = ("healthy", "retrying", "stuck", "compensated", "compensation failed", "worker lost", "message lost")
"""The columns of the table."""


@dataclass(frozen=True)
class Shown:
    """One answer that a test asserts."""

    system: str
    situation: str
    answer: str
    """A status or an attention code."""
    by: str
    """The test or the recording."""


def shown() -> list[Shown]:
    """Returns every answer that a test or a recording asserts, in the order of the files."""
    by_tests = (each for path in sorted(TESTS.glob("**/test_*.py")) for each in _of_tests(path))
    by_recordings = (each for path in sorted(TESTS.glob("recordings/cases/*.toml")) for each in _of_recording(path))
    return [*by_tests, *by_recordings]


def _of_tests(path: Path) -> Iterator[Shown]:
    text = path.read_text()
    if "mark.shows(" not in text:
        return
    for node in ast.parse(text).body:
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.shows":
                yield Shown(*map(ast.literal_eval, mark.args), by=node.name)


def _of_recording(path: Path) -> Iterator[Shown]:
    for marks in tomllib.loads(path.read_text()).get("shows", ()):
        yield Shown(*marks, by=path.stem)


def table() -> str:
    """Returns the table of what tests show. A cell without a test is empty."""
    answers: dict[tuple[str, str], dict[str, None]] = {}
    for each in shown():
        answers.setdefault((each.system, each.situation), {})[f"`{each.answer}`"] = None
    rows = [
        [title, *(", ".join(answers.get((system, situation), ())) for situation in SITUATIONS)]
        for system, title in SYSTEMS.items()
    ]
    lines = [["system", *SITUATIONS], ["---"] * (1 + len(SITUATIONS)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
