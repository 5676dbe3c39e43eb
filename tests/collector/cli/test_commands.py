"""The commands as a person runs them, against a real collector."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sagascope_collector.client import Client, schemas
from support.collector import RunningCollector, running_collector, serve_command
from support.command import run
from support.payments import ODD, STUCK, saga, send, soon

CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        send(
            running,
            *saga("8492", STUCK, environment="production", ago=720, root={"saga.key.order_id": "ord-77"}),
            *saga("8493", environment="production", ago=600),
            *saga("77", ago=300),
            *saga("77", name="refund", ago=290),
            *saga("500", run="r1", ago=200),
            *saga("500", STUCK, run="r2", ago=100),
            *saga(ODD, ago=50),
        )
        with Client(running.api) as client:
            soon(lambda: len(client.sagas().items) == 7)
        yield running


@pytest.fixture(scope="module")
def empty() -> Iterator[RunningCollector]:
    with running_collector() as running:
        yield running


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("dashboard", "--url", "ftp://collector"), "'ftp://collector' is not a URL"),
        (("triage", "--plan", "--limit", "3"), "it takes no filter and no --limit"),
    ],
)
def test_what_would_have_no_effect_is_refused(words: tuple[str, ...], reason: str) -> None:
    refused = run(*words)
    assert refused.returncode == 2
    assert reason in " ".join(refused.stderr.replace("│", "").split())


def test_find_lists_what_matches(collector: RunningCollector) -> None:
    done = run("find", "#849", url=collector.api)
    assert done.returncode == 0
    assert "payment 8492  running, needs attention: hung  (id prefix)" in done.stdout
    assert "payment 8493  completed" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_find_gives_the_reason_for_an_empty_result(collector: RunningCollector) -> None:
    done = run("find", "9999", "--url", collector.api)
    assert (done.returncode, done.stdout) == (
        1,
        "Nothing found for '9999'.\nNo telemetry with this value was received.\n",
    )


def test_find_gives_the_api_s_answer(collector: RunningCollector) -> None:
    done = run("find", "ord-77", "--json", url=collector.api)
    (match,) = schemas.SearchResult.model_validate_json(done.stdout).matches
    assert (match.kind, match.saga.id) == ("key", "8492")
    missing = run("find", "9999", "--json", url=collector.api)
    assert missing.returncode == 1
    nothing = {"matches": [], "reason": "never_seen", "words_since": None, "unassigned": None, "truncated": False}
    assert json.loads(missing.stdout) == nothing


def test_show_prints_one_saga(collector: RunningCollector) -> None:
    done = run("show", "#8492", url=collector.api)
    assert done.returncode == 0
    assert done.stdout.startswith("payment 8492  running, needs attention: hung\nin production, started ")
    for part in ("Customer: ", "STEPS", "EVIDENCE", "RECOMMENDED ACTIONS", "TIMELINE"):
        assert part in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_show_gives_the_api_s_answer(collector: RunningCollector) -> None:
    told = schemas.Saga.model_validate_json(run("show", "8492", "--json", url=collector.api).stdout)
    assert (told.id, told.attention, told.spans_total) == ("8492", "hung", 3)


def test_show_of_several_lists_them(collector: RunningCollector) -> None:
    done = run("show", "77", url=collector.api)
    assert done.returncode == 0
    assert "payment 77  completed" in done.stdout
    assert "refund 77  completed" in done.stdout
    listed = schemas.Sagas.model_validate_json(run("show", "77", "--json", url=collector.api).stdout)
    assert {each.name for each in listed.items} == {"payment", "refund"}


def test_show_of_several_can_be_narrowed(collector: RunningCollector) -> None:
    assert run("show", "77", "--name", "refund", url=collector.api).stdout.startswith("refund 77  completed\n")
    assert "run r1," in run("show", "500", "--run", "r1", url=collector.api).stdout
    assert run("show", "8492", "--environment", "production", url=collector.api).returncode == 0
    assert run("show", "8492", "--environment", "staging", url=collector.api).returncode == 1


def test_show_takes_any_id_and_shows_it_as_text(collector: RunningCollector) -> None:
    done = run("show", ODD, url=collector.api)
    assert done.returncode == 0
    assert "\u202e" not in done.stdout
    assert "\\u202e" in done.stdout


def test_show_of_an_unknown_id_names_what_comes_near(collector: RunningCollector) -> None:
    done = run("show", "849", url=collector.api)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No transaction matches '849'.\nSimilar ids:\n  payment 849")
    unknown = run("show", "9999", url=collector.api)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "No transaction matches '9999'. No telemetry with this value was received.\n"


def test_triage_lists_who_needs_someone_worst_and_longest_first(collector: RunningCollector) -> None:
    done = run("triage", url=collector.api)
    assert done.returncode == 0
    assert [line.split("  ")[0] for line in done.stdout.splitlines() if line.startswith("payment")] == [
        "payment 8492",
        "payment 500",
    ]
    listed = schemas.Sagas.model_validate_json(run("triage", "--json", url=collector.api).stdout)
    assert [each.id for each in listed.items] == ["8492", "500"]
    cut = run("triage", "--limit", "1", url=collector.api)
    assert (cut.returncode, cut.stderr) == (
        0,
        "1 more need attention; --limit sets the number of listed transactions.\n",
    )


def test_triage_has_columns_that_fit_the_terminal(collector: RunningCollector) -> None:
    narrow, wide = (run("triage", url=collector.api, COLUMNS=columns).stdout for columns in ("80", "160"))
    count, titles, first, *_ = narrow.splitlines()
    assert count == "2 transactions need attention: hung 2"
    assert titles.split() == ["TRANSACTION", "REASON", "STUCK", "FOR", "AT", "RISK", "STEP"]
    assert re.fullmatch(r"payment 8492 +hung +\d+ min +ledger\.record in ledger", first), first
    assert max(map(len, narrow.splitlines())) <= 80
    assert "Stuck in ledger.record" in wide
    assert max(map(len, wide.splitlines())) <= 160


def test_an_empty_collector_needs_no_attention(empty: RunningCollector) -> None:
    done = run("triage", url=empty.api)
    assert (done.returncode, done.stdout) == (0, "No transaction needs attention.\n")
    listed = schemas.Sagas.model_validate_json(run("triage", "--json", url=empty.api).stdout)
    assert listed == schemas.Sagas(items=[], next_cursor=None, words_since=None, words_limit=None)
    assert run("find", "8492", url=empty.api).returncode == 1
    assert run("show", "8492", url=empty.api).returncode == 1


@pytest.mark.parametrize("words", [("triage",), ("find", "8492"), ("show", "8492"), ("triage", "--json")])
def test_an_unreachable_collector_is_reported(words: tuple[str, ...]) -> None:
    done = run(*words, url=CLOSED)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sagascope: No collector answers at {CLOSED} (")
    assert done.stderr.endswith(
        "Start a collector with `sagascope serve`, or set another URL with --url or SAGASCOPE_URL.\n"
    )


def test_another_server_at_the_address_is_reported() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.settimeout(30)
        process = subprocess.Popen(
            [sys.executable, "-m", "sagascope_collector", "triage", "--url", url], stderr=subprocess.PIPE, text=True
        )
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said == f"sagascope: The program at {url} is not a Sagascope collector, or is one of another version.\n"


@pytest.mark.parametrize(
    "words", [("find",), ("show",), ("fnd", "1"), ("triage", "--limit", "0"), ("find", "1", "--colour"), ("find", "")]
)
def test_wrong_use_is_status_2(collector: RunningCollector, words: tuple[str, ...]) -> None:
    done = run(*words, url=collector.api)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_a_terminal_that_knows_ascii_only_is_spared(collector: RunningCollector) -> None:
    done = run("show", "8492", url=collector.api, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "+ done" in done.stdout


def test_json_is_json_in_any_encoding(collector: RunningCollector) -> None:
    done = run("find", ODD, "--json", url=collector.api, PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["matches"][0]["saga"]["id"] == ODD
    assert "\u202e" not in run("find", ODD, "--json", url=collector.api).stdout


def test_colour_is_for_terminals(collector: RunningCollector) -> None:
    coloured = run("show", "8492", url=collector.api, FORCE_COLOR="1")
    assert "\x1b[" in coloured.stdout
    assert "\x1b[" not in run("show", "8492", url=collector.api, FORCE_COLOR="1", NO_COLOR="1", TERM="dumb").stdout


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("sagascope ")


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sagascope_collector", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for heavy in ("duckdb", "fastapi", "grpc", "pydantic", "httpx", "rich", "pyarrow"):
        assert f"| {heavy}\n" not in done.stderr.replace("  ", ""), heavy


def test_a_missing_extra_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    for package, words in (("typer", ["--help"]), ("httpx", ["triage"]), ("duckdb", ["serve"])):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module', name='{package}')")
        done = run(*words, PYTHONPATH=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"sagascope: This needs the package {package}, which is not installed. Install it with:\n"
            '  pip install "sagascope[all]" (from a checkout: pip install "/path/to/sagascope[all]")\n'
        )
        (tmp_path / f"{package}.py").unlink()


def test_an_argument_that_is_no_transaction_is_reported_as_what_it_is(collector: RunningCollector) -> None:
    for word, told in (
        ("ledger", "It is the name of a service"),
        ("ledger.record", "It is the name of a step"),
        ("refund", "It is the name of a type of"),
    ):
        done = run("find", word, url=collector.api)
        assert done.returncode == 1
        assert told in done.stdout


def test_an_id_of_another_type_is_reported_with_its_types(collector: RunningCollector) -> None:
    done = run("show", "77", "--name", "foo", url=collector.api)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("77 is known, but not with this name, run or environment.")
    assert "--name payment" in done.stderr
    assert "--name refund" in done.stderr


def test_what_is_missing_is_json_where_json_was_asked_for(collector: RunningCollector) -> None:
    done = run("show", "nope", "--json", url=collector.api)
    assert done.returncode == 1
    assert schemas.Problem.model_validate_json(done.stdout).status == 404


def test_nothing_named_is_a_wrong_use(empty: RunningCollector) -> None:
    for words in (("find", ""), ("show", "  ")):
        done = run(*words, url=empty.api)
        assert done.returncode == 2
        assert "the query is empty" in done.stderr


def test_a_busy_port_is_one_sentence_and_leaves_nothing_behind(empty: RunningCollector, tmp_path: Path) -> None:
    for name in ("otlp_grpc", "otlp_http", "api"):
        busy = getattr(empty, name).removeprefix("http://")
        done = run(*serve_command(tmp_path / "x.duckdb", addresses={name: busy})[3:])
        assert done.returncode == 2
        assert done.stderr.startswith("sagascope: Port ")
        assert len(done.stderr.splitlines()) == 1
        assert not list(tmp_path.iterdir())
