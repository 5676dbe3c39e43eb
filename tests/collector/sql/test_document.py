"""docs/sql.md: its columns are those of the views, and its queries answer what they ask."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sagascope_collector.client import Client
from support import documents
from support.collector import running_collector
from support.payments import soon

from .conftest import fill

TEXT = (documents.ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
QUESTIONS = dict(re.findall(r"^### ([^\n]+\?)\n\n```sql\n(.*?)\n```", TEXT, re.MULTILINE | re.DOTALL))
VIEWS = ("spans", "logs", "sagas")

ANSWERS: dict[str, Any] = {
    "Which instance started most of what is stuck?": [["ledger", "ledger-1", 1], ["ledger", "ledger-9", 1]],
    "Which version of which service fails?": [["stock", "2.1", 4, 4, 100.0]],
    "Which steps are retried?": [["payment", "stock.reserve", 2, 2, 2]],
    "How much money was in transactions that were compensated?": [["payment", "EUR", 2, "100.00"]],
}


def columns(view: str, client: Client) -> str:
    rows = [f"| `{name}` | {kind} |" for name, kind, *_ in client.sql(f"DESCRIBE {view}").rows]
    return "\n".join(["| column | type |", "|---|---|", *rows])


def test_the_document_lists_every_column(client: Client) -> None:
    documents.compare("sql.md", {view: columns(view, client) for view in VIEWS})


def test_the_document_has_ten_questions() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_every_question_is_answered(question: str, client: Client) -> None:
    answer = client.sql(QUESTIONS[question])
    assert answer.rows
    if question in ANSWERS:
        assert answer.rows == ANSWERS[question]


def test_the_other_questions_are_answered_with_what_was_sent(client: Client) -> None:
    def answer(part: str) -> list[list[Any]]:
        (query,) = (text for question, text in QUESTIONS.items() if part in question)
        return client.sql(query).rows

    assert {row[2]: row[3] for row in answer("customer's")} == {"back-0": "compensated", "back-1": "compensated"}
    assert [row[1] for row in answer("slowest")][:2] == ["back-0", "back-1"]
    assert [row[3:] for row in answer("log about")] == [["started"], ["waiting for the ledger"]]
    assert [row[2:4] for row in answer("most frequent")] == [["no stock left", 4]]
    assert sum(row[2] for row in answer("by day")) == 8
    assert {row[1] for row in answer("by hour")} >= {"stock.reserve", "wallet.debit", "fraud.check"}


def test_the_file_of_a_collector_that_stopped_gives_the_same_answers_without_sagascope(tmp_path: Path) -> None:
    with running_collector(tmp_path) as running, Client(running.api) as client:
        fill(running)
        soon(
            lambda: client.sql("SELECT count(*) FROM sagas WHERE status <> 'running' OR attention <> ''").rows == [[8]]
        )
        answers = {question: client.sql(query) for question, query in QUESTIONS.items()}
    with duckdb.connect(str(running.db), read_only=True) as connection:
        for question, query in QUESTIONS.items():
            rows = connection.sql(query).fetchall()
            assert len(rows) == len(answers[question].rows), question
            for ours, theirs in zip(answers[question].rows, rows, strict=True):
                assert [str(each) for each in ours if isinstance(each, int | float)] == [
                    str(each) for each in theirs if isinstance(each, int | float) and not isinstance(each, bool)
                ]
