import csv
import io

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.urls import Filters, SagaAddress
from sagascope_dashboard.viewmodels.transactions import CSV_COLUMNS, as_csv, filter_options, only_match, transactions
from support.wires import at, needing, summary


def page(*items: schemas.SagaSummary, cursor: str | None = None) -> schemas.Sagas:
    return schemas.Sagas(items=list(items), next_cursor=cursor)


def found(*matches: tuple[str, schemas.SagaSummary]) -> schemas.SearchResult:
    return schemas.SearchResult.model_validate(
        {"matches": [{"kind": kind, "saga": saga} for kind, saga in matches], "reason": None}
    )


def test_a_row_shows_the_current_step_and_reason_of_an_open_saga() -> None:
    (row,) = transactions(page(needing("8492", "instance_lost")), Filters()).rows
    assert row.where == "ledger.record in ledger"
    assert row.reason is not None
    assert row.reason.label == "Instance lost"
    assert row.duration_text == ""


def test_a_row_shows_how_long_a_finished_saga_took() -> None:
    (row,) = transactions(page(summary(status="completed", ended_at=at(0.42))), Filters()).rows
    assert (row.duration_text, row.style.label, row.reason) == ("420 ms", "Completed", None)


def test_a_row_shows_for_how_long_it_is_stuck_its_attempts_and_its_business_keys() -> None:
    stuck, running = transactions(
        page(needing("8492", "hung", since=at(1), attempts=3, keys={"order": "A 1"}), summary(since=at(1))), Filters()
    ).rows
    assert (stuck.stuck_since, stuck.attempts, stuck.keys) == (at(1), 3, ("order A 1",))
    assert (running.stuck_since, running.keys) == (None, ())


def test_csv_has_a_line_for_each_saga() -> None:
    sagas = [needing("8492", "hung", since=at(1), keys={"order": "A, 1"}), summary(status="completed", ended_at=at(2))]
    head, first, second = csv.reader(io.StringIO(as_csv(sagas)))
    assert head == list(CSV_COLUMNS)
    told = dict(zip(head, first, strict=True))
    assert (told["id"], told["attention"], told["keys"], told["ended"]) == ("8492", "hung", "order=A, 1", "")
    assert told["stuck since"].endswith("Z")
    assert dict(zip(head, second, strict=True))["status"] == "completed"


@pytest.mark.parametrize("received", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\n=1+1"])
def test_no_cell_of_a_csv_file_is_a_formula(received: str) -> None:
    _, row = csv.reader(io.StringIO(as_csv([summary(id=received, headline=received)])))
    assert all(not cell.startswith(("=", "+", "-", "@")) for cell in row)
    assert f"'{received.strip()}" in row or received.startswith("\t")


def test_a_page_is_drawn_in_the_order_in_which_it_comes() -> None:
    items = [summary(id=name, ended_at=at(took), status="completed") for name, took in (("a", 2), ("b", 9), ("c", 1))]
    for sort in ("", "duration", "-id"):
        assert [row.id for row in transactions(page(*items), Filters(sort=sort)).rows] == ["a", "b", "c"]


@pytest.mark.parametrize("sort", ["status", "id", "step", "duration", "started", "-status", "nonsense", "-"])
def test_any_order_in_the_address_can_be_drawn(sort: str) -> None:
    assert len(transactions(page(summary(), needing("1", "hung")), Filters(sort=sort)).rows) == 2


def test_a_heading_goes_round_through_the_orders() -> None:
    def heading(sort: str, key: str = "id") -> tuple[str, str | None]:
        column = next(c for c in transactions(page(), Filters(sort=sort)).columns if c.key == key)
        return column.order, column.href

    assert heading("") == ("none", "/transactions?sort=id")
    assert heading("id") == ("ascending", "/transactions?sort=-id")
    assert heading("-id") == ("descending", "/transactions")
    assert heading("", "started") == ("descending", "/transactions?sort=started")
    assert heading("started", "started") == ("ascending", "/transactions?sort=-started")
    assert heading("id", "amount_at_risk") == ("none", None)


def test_pages_keep_their_filters() -> None:
    shown = transactions(page(summary(), cursor="n+1"), Filters(status="running", cursor="n"))
    assert shown.next_href == "/transactions?status=running&cursor=n%2B1"
    assert shown.first_href == "/transactions?status=running"


@pytest.mark.parametrize(
    ("filters", "reason", "said"),
    [
        (Filters(q="zzz"), "never_seen", "Nothing found for “zzz”: no record like it was received."),
        (Filters(q="zzz"), "expired", "deleted since"),
        (Filters(q="zzz"), "not_a_saga", "belongs to no transaction"),
        (Filters(status="failed"), None, "No transaction matches all of these filters."),
        (Filters(), None, "No transaction has been received yet"),
    ],
)
def test_an_empty_page_gives_the_reason(filters: Filters, reason: str | None, said: str) -> None:
    assert said in transactions(page(), filters, reason).empty_text


def test_one_id_leads_straight_to_its_saga() -> None:
    result = found(("id", summary(environment="eu")), ("prefix", summary(id="84921")))
    assert only_match(result) == SagaAddress("payment", "8492", "eu")


def test_runs_of_one_id_are_one_answer() -> None:
    assert only_match(found(("id", summary(run="2")), ("id", summary(run="1")))) == SagaAddress("payment", "8492", None)


def test_a_single_prefix_is_an_answer() -> None:
    assert only_match(found(("prefix", summary(id="84921")))) == SagaAddress("payment", "84921", None)


@pytest.mark.parametrize(
    "result",
    [found(), found(("key", summary(name="payment")), ("key", summary(name="refund")))],
    ids=["empty_text", "a key of several sagas"],
)
def test_anything_else_leads_to_the_list(result: schemas.SearchResult) -> None:
    assert only_match(result) is None


def test_choices_are_what_the_collector_knows() -> None:
    flows = schemas.Flows.model_validate(
        {
            "items": [
                {
                    "name": n,
                    "environment": e,
                    "running": 0,
                    "completed": 0,
                    "compensated": 0,
                    "failed": 0,
                    "attention": 0,
                }
                for n, e in (("payment", "eu"), ("payment", ""), ("refund", "eu"))
            ]
        }
    )
    services = schemas.Services(items=[schemas.Service(service="wallet", instances=[])])
    known = filter_options(flows, services)
    assert known.names == ("payment", "refund")
    assert known.environments == ("eu",)
    assert known.services == ("wallet",)
    assert filter_options(None, None).names == ()
