"""Makes `docs/semconv.md` from `sagascope/semconv.py`."""

import ast
from itertools import pairwise
from pathlib import Path

from sagascope import semconv

HEAD = """\
# The names of saga telemetry, version 1

<!-- Made by a test from instrumentation/sagascope/semconv.py. -->

Any language's OpenTelemetry SDK can send these. [languages.md](languages.md) says what a service in Go, Java, .NET or
Node.js must send, with code. A whole number may come as an int where a double stands here: some SDKs cannot tell them
apart. Names are added, never renamed or reused. The `schema_url` of this version is `{schema}`.

A *saga* is one business transaction, a *step* a named unit of forward work in it, an *attempt* one execution of a
step, and a *compensation* a step that compensates another, committed, step.
"""

SECTIONS = {
    "spans and log records": """\
## Attributes of spans and log records

One span with the role `saga` stands for the whole saga, one with the role `step` for each attempt. Every other span
and log record below them carries the saga's id, name and run, and the step's name, key and attempt.
""",
    "work that has not ended": """\
## Work that has not ended

A span is sent when it ends, so a step that hangs or is killed would be invisible. Two log records report open
spans:

- **`sagascope.span.start`**, once for a saga span that is still open 0.25 s after its start. It has the span's
  trace id and span id, `timestamp` = the span's start, `observed_timestamp` = when it was sent, all `saga.*`
  attributes of the span, and those below.
- **`sagascope.heartbeat`**, every 5 s while an announced span is open or a retry is expected, otherwise every 60 s,
  and once with `final` if exit handlers run. It lists the announced spans that are open, by span id, oldest first.

Both leave the process within 0.2 s, ended saga spans within 1 s. A final span always wins over its start record. A
span that was announced and is missing from a later complete list has ended, and its final span was lost. A process
whose next heartbeat is missing for more than three times the interval that its last heartbeat named counts as lost.

An emitter without these records can send a span whose end time is 0: it is in flight until its final form arrives.
""",
    "bridges": """\
## Bridges

Additional attributes of the bridges to state tables and to PostgreSQL's prepared transactions.
""",
    "messages": """\
## Messages

OpenTelemetry's own names. A span of kind producer without a child span is a message without a known consumer; these
attributes then tell what the saga waits for.
""",
    "Temporal": """\
## Temporal

Additional attributes of Sagascope's Temporal plugin and bridge. In a run with these attributes, spans of Temporal's own
interceptor are not attempts.
""",
    "Celery": """\
## Celery

Additional attributes of the [Celery integration](engines/celery.md).
""",
    "context": """\
## Context between services

W3C `traceparent`, and W3C `baggage` with these members of sagas. Values are percent-encoded UTF-8 (a
space is `%20`, never `+`); other members stay as they are. Each span and log record that is started under that
context gets them as attributes, `saga.step.attempt` as an int.
""",
}

TAIL = """\
## Two views of one attempt

The caller and the executor may each open a span for one attempt. They are matched by step name, type, key and
attempt number, so the executor takes these from baggage. Two such spans of one service are two executions.

## A batch

A span link with `saga.*` attributes makes its span an attempt of the saga that they name. Each
link then has `saga.role` = `step` and the step's name, key and attempt.

## Minimum

`saga.id` on every span of a saga. `saga.role`, `saga.step.name` and `saga.step.attempt` distinguish attempts;
`saga.plan` names the next step; start records and heartbeats distinguish hung steps from lost instances.
"""


def sections() -> dict[str, list[tuple[str, str]]]:
    """Returns the constants of each section of semconv.py with their docstrings, in order."""
    source = Path(semconv.__file__).read_text()
    found: dict[str, list[tuple[str, str]]] = {}
    body = ast.parse(source).body
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            title = _section(source.splitlines()[: node.lineno])
            found.setdefault(title, []).append((node.target.id, ast.literal_eval(after.value)))
    return found


def _section(lines: list[str]) -> str:
    return next((line.strip("#- ") for line in reversed(lines) if line.startswith("# ---")), "")


def write() -> str:
    """Returns the whole document."""
    parts = [HEAD.format(schema=semconv.SCHEMA_URL)]
    found = sections()
    for title, introduction in SECTIONS.items():
        parts.append(introduction)
        names = [constant for constant in found[title] if _is_name(constant[0]) or title == "context"]
        values = [constant for constant in found[title] if isinstance(getattr(semconv, constant[0]), str)]
        parts.append(_table("name", names))
        if values := [constant for constant in values if constant not in names]:
            parts.append(_table("value", values))
    return "\n".join([*parts, TAIL])


def _is_name(constant: str) -> bool:
    """Returns whether a constant is a name: names contain a dot, values do not."""
    value = getattr(semconv, constant)
    return isinstance(value, str) and "." in value


def _table(first: str, constants: list[tuple[str, str]]) -> str:
    return "\n".join([f"| {first} | what it is |", "|---|---|", *_rows(constants)]) + "\n"


def _rows(constants: list[tuple[str, str]]) -> list[str]:
    rows = []
    for name, document in constants:
        value = getattr(semconv, name)
        text = " ".join(document.split()).replace("``", "`").replace("|", "\\|")
        for other in sorted(vars(semconv), key=len, reverse=True):
            if isinstance(named := getattr(semconv, other), str) and f"`{other}`" in text:
                text = text.replace(f"`{other}`", f"`{named}`")
            elif isinstance(named, tuple) and f"`{other}`" in text:
                text = text.replace(f"`{other}`", ", ".join(f"`{each}`" for each in named))
        shown = "`, `".join(value) if isinstance(value, tuple) else value + ("<name>" if value.endswith(".") else "")
        rows.append(f"| `{shown}` | {text.removeprefix(f'`{shown}`, ')} |")
    return rows
