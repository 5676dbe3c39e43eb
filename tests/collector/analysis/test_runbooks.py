"""Runbooks: read from a file, filled in, and shown in verdicts."""

import re
from pathlib import Path

import httpx
import pytest

from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.analysis.runbooks import FIELDS, as_link, as_text, parse, parse_link, read_runbooks
from sagascope_collector.errors import BadRules
from support import preloaded
from support.collector import running_collector, serve_command
from support.documents import ROOT
from support.payments import STUCK, saga, send
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

STORY = """
    orchestrator-1 0..  root plan="wallet.debit/wallet.refund, ledger.record" key.order_id="ord 77/8"
    wallet-1       1..2 run  wallet.debit
    ledger-1       3..  run  ledger.record timeout=5 idem=pay-8492
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runbooks.yaml"


def actions(file: Path, text: str, story: str = STORY) -> list[str]:
    """What the file adds to the actions of a verdict."""
    file.write_text(text)
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    now = STARTED + 60 * SECOND
    (known,) = rebuild(facts, now)
    plain, answer = (
        diagnose(known, facts.instances, Context(now, runbooks=books)).verdict for books in ((), read_runbooks(file))
    )
    assert plain is not None
    assert answer is not None
    assert answer.actions[: len(plain.actions)] == plain.actions
    return list(answer.actions[len(plain.actions) :])


def test_a_runbook_is_filled_with_the_saga_s_fields(file: Path) -> None:
    text = """
    runbooks:
      - when: {name: payment, step: "ledger.*", service: [ledger, books], reason: hung, phase: forward}
        do: "Look {idempotency_key} up for {name} {id}, order {key.order_id}, {{by hand}}; {key.other}"
        link: "https://wiki.example.com/hung/{step}?order={key.order_id}&run={run}"
    """
    assert actions(file, text) == [
        "Look pay-8492 up for payment 8492, order ord 77/8, {by hand}; unknown "
        "https://wiki.example.com/hung/ledger.record?order=ord%2077%2F8&run="
    ]


def test_a_runbook_for_a_missing_step_has_no_idempotency_key_of_another_step(file: Path) -> None:
    story = """
        orchestrator-1 0..  root plan="wallet.debit, ledger.record"
        orchestrator-1 1..2 call wallet.debit idem=debit-8492
    """
    text = (
        'runbooks: [{do: "Look up {step}: {idempotency_key}", link: "https://wiki.example.com/?key={idempotency_key}"}]'
    )
    assert actions(file, text, story) == [
        "Look up ledger.record: (no idempotency key was received: verify first what was done) "
        "https://wiki.example.com/?key="
    ]


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ("{}", True),
        ("{reason: instance_lost}", False),
        ("{reason: [instance_lost, hung]}", True),
        ("{step: 'led*'}", True),
        ("{step: led}", False),
        ("{step: 'ledger[.]*'}", False),
        ("{step: 'ledger?record'}", False),
        ("{service: wallet}", False),
        ("{phase: compensation}", False),
        ("{environment: prod}", False),
        ("{error_type: '*'}", True),
    ],
)
def test_every_condition_of_a_runbook_must_match(file: Path, when: str, applies: bool) -> None:
    assert actions(file, f"runbooks: [{{when: {when}, do: Call}}]") == (["Call"] if applies else [])


def test_an_empty_file_adds_no_runbook_and_a_long_one_is_cut(file: Path) -> None:
    assert actions(file, "") == []
    assert actions(file, "runbooks: [" + ", ".join(f"{{do: Step {number}}}" for number in range(9)) + "]") == [
        f"Step {number}" for number in range(5)
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("runbooks: [{do: 'a {secret} b'}]", "{secret} is not a field"),
        ("runbooks: [{do: '{id.__class__}'}]", "{id.__class__} is not a field"),
        ("runbooks: [{do: 'a } b'}]", "a single }"),
        ("runbooks: [{link: 'javascript:alert(1)'}]", "begins with http"),
        ("runbooks: [{link: '//wiki/x'}]", "begins with http"),
        ("runbooks: [{link: 'https://{service}/x'}]", "and a host"),
        ("runbooks: [{link: 'https://wiki{service}/x'}]", "no field may stand in a link's host"),
        ("runbooks: [{link: 'https://wiki/ x'}]", "no spaces"),
        ("runbooks: [{when: {reason: stuck}, do: x}]", "'stuck' is none of applied_twice"),
        ("runbooks: [{when: {stepp: x}, do: x}]", "is not a known key"),
        ("runbooks: [{when: {step: []}, do: x}]", "at least 1"),
        ("runbooks: [{when: {step: x}}]", "neither what to do nor where"),
        ("runbooks: 7", "list"),
    ],
)
def test_an_invalid_part_is_refused_with_its_line(file: Path, text: str, complaint: str) -> None:
    file.write_text(f"# first line\n{text}\n")
    with pytest.raises(BadRules) as refused:
        read_runbooks(file)
    assert complaint in str(refused.value)
    assert f"{file}:2: runbooks" in str(refused.value)


@pytest.mark.parametrize("value", ["a\nb\u202ec", "x" * 500, "{id}", "%", "\x00", "<b>"])
def test_no_value_leaves_its_place(value: str) -> None:
    text = as_text(parse("<{error}>"), {"error": value})
    assert "\n" not in text
    assert "\u202e" not in text
    assert len(text) <= 202
    filled = as_link(parse_link("https://wiki.example.com/a/{error}/b"), {"error": value})
    assert re.fullmatch(r"https://wiki\.example\.com/a/[A-Za-z0-9._~%-]+/b", filled)


def test_every_field_is_documented_and_the_document_s_file_is_read(file: Path) -> None:
    document = (ROOT / "docs" / "diagnosis.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    assert [each.split("?")[0] for each in actions(file, example)] == [
        "Look up pay-8492 in the ledger's console, and tell #ledger-oncall. https://wiki.example.com/runbooks/ledger",
        "https://dashboards.example.com/trace/" + rebuilt_trace(),
    ]
    assert all(f"`{field}`" in document for field in FIELDS)


def rebuilt_trace() -> str:
    facts = seen(emit(STORY, {"id": "8492", "name": "payment"})).facts("8492")
    return facts.spans[0].trace_id


def test_a_collector_shows_the_runbooks_of_its_file(tmp_path: Path, file: Path) -> None:
    file.write_text("runbooks: [{when: {reason: hung}, do: 'Ring the bell for {id}'}]")
    with running_collector(tmp_path, environment={"SAGASCOPE_RUNBOOKS": str(file)}) as collector:
        send(collector, *saga("8492", STUCK))
        page = httpx.get(f"{collector.api}/api/v1/sagas/payment/8492", trust_env=False, timeout=30).json()
    assert page["verdict"]["actions"][-1] == "Ring the bell for 8492"


def test_a_collector_does_not_start_with_an_invalid_file(tmp_path: Path, file: Path) -> None:
    file.write_text("runbooks: [{do: '{nonsense}'}]")
    ended = preloaded.run(*serve_command(tmp_path / "x.duckdb", "--runbooks", str(file))[2:])
    assert ended.returncode == 2
    assert f"{file}:1: runbooks[0].do: {{nonsense}} is not a field" in ended.stderr
