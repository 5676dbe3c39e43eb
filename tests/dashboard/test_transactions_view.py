import csv
import io
from zoneinfo import ZoneInfo

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.screens.transactions import pager
from sagascope_dashboard.urls import Filters, SagaAddress
from sagascope_dashboard.viewmodels.transactions import (
    CSV_COLUMNS,
    Table,
    as_csv,
    empty_text,
    filter_options,
    limit_text,
    only_match,
    saga_table,
    sorted_by,
)
from support.wires import at, needing, summary


def page(*items: schemas.SagaSummary, cursor: str | None = None) -> schemas.Sagas:
    return schemas.Sagas(items=list(items), next_cursor=cursor, words_since=None, words_limit=None)


def found(*matches: tuple[str, schemas.SagaSummary]) -> schemas.SearchResult:
    return schemas.SearchResult.model_validate(
        {
            "matches": [{"kind": kind, "saga": saga} for kind, saga in matches],
            "reason": None,
            "words_since": None,
            "truncated": False,
            "unassigned": None,
        }
    )


def cells(saga: schemas.SagaSummary) -> dict[str, object]:
    (row,) = saga_table([saga], Filters(), at(721)).rows
    return row


def test_a_row_shows_the_current_step_and_reason_of_an_open_saga() -> None:
    row = cells(needing("8492", "instance_lost"))
    assert (row["Where"], row["Status"], row["Duration"]) == ("ledger.record in ledger", ["Instance lost"], "")


def test_a_row_shows_how_long_a_finished_saga_took() -> None:
    row = cells(summary(status="completed", ended_at=at(0.42)))
    assert (row["Duration"], row["Status"]) == ("420 ms", ["Completed"])


def test_a_row_shows_for_how_long_it_is_stuck_its_attempts_and_its_business_keys() -> None:
    stuck = cells(needing("8492", "hung", since=at(1), attempts=3, keys={"order": "A 1"}))
    running = cells(summary(since=at(1)))
    assert (stuck["Stuck for"], stuck["Attempts"], stuck["Keys"]) == ("12 min", 3, ["order A 1"])
    assert running["Stuck for"] is None
    assert "Keys" not in running


def test_a_saga_that_stopped_at_an_unknown_moment_counts_from_its_start() -> None:
    assert cells(needing("a", "never_closed", since=None))["Stuck for"] == "12 min"


def shown(known: schemas.Sagas, filters: Filters = Filters()) -> Table:  # noqa: B008
    return saga_table(known.items, filters, at(721))


def test_the_table_has_the_cells_of_each_row() -> None:
    amounts = [schemas.AmountAtRisk(currency="EUR", certain="50.00", possible="0")]
    stuck = needing("8492", "hung", since=at(1), attempts=3, keys={"order": "A 1"}, amount_at_risk=amounts)
    first, second = shown(page(stuck, summary(status="completed", ended_at=at(0.42)))).rows
    assert (first["Status"], first["Stuck for"], first["Attempts"], first["Keys"]) == (
        ["Hung"],
        "12 min",
        3,
        ["order A 1"],
    )
    assert (first["Amount at risk"], first["Where"]) == ("€50.00 committed", "ledger.record in ledger")
    assert (second["Status"], second["Stuck for"], second["Duration"]) == (["Completed"], None, "420 ms")


def test_a_list_by_words_shows_where_the_search_ended() -> None:
    everything = page(needing("1", "hung"))
    assert limit_text(everything, at(721)) == ""
    many = limit_text(everything.model_copy(update={"words_limit": 1_000, "words_since": at(0)}), at(721))
    assert many == "More than 1,000 transactions have these words; only the latest 1,000 are counted and listed."
    late = limit_text(everything.model_copy(update={"words_since": at(0)}), at(721))
    assert late == "Only error messages and log lines received since 14:02:10 were searched."


def test_a_finished_saga_has_no_number_of_attempts_as_it_is_at_no_step() -> None:
    (row,) = shown(page(summary(status="completed", ended_at=at(1), attempts=0))).rows
    assert row["Attempts"] is None


def test_each_row_leads_to_its_saga() -> None:
    assert shown(page(needing("#1/2", "hung", environment="eu", run="r 1"))).hrefs == (
        "/saga?name=payment&id=%231%2F2&environment=eu&run=r+1",
    )


def test_the_summary_shows_times_in_the_readers_zone() -> None:
    parts = [{"text": "Stuck since "}, {"time": at(0.3)}, {"text": "."}]
    tokyo = at(60).astimezone(ZoneInfo("Asia/Tokyo"))
    stuck = page(needing("1", "hung", headline="Stuck since 14:02:10Z.", headline_parts=parts))
    (row,) = saga_table(stuck.items, Filters(), tokyo).rows
    assert row["Summary"] == "Stuck since 23:02:10."


def test_hostile_text_stays_text() -> None:
    (row,) = shown(page(needing("a\x1b[31m", "hung", headline="\u202eevil" * 500, keys={"k": "\x1b"}))).rows
    assert row["Transaction"] == r"a\x1b[31m"
    assert row["Keys"] == [r"k \x1b"]
    assert row["Summary"].endswith("more characters)")


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
    for sort in ("", "duration", "-id", "nonsense", "-"):
        assert [row["Transaction"] for row in shown(page(*items), Filters(sort=sort)).rows] == ["a", "b", "c"]


def test_a_title_sorts_the_whole_list_in_one_direction_and_the_other() -> None:
    first = sorted_by(Filters(status="failed", cursor="c"), "Amount at risk")
    assert first.href() == "/transactions?status=failed&sort=-amount"
    assert sorted_by(first, "Amount at risk").sort == "amount"
    assert sorted_by(Filters(), "Started").sort == "started"
    assert sorted_by(Filters(sort="started"), "Started").sort == ""
    assert sorted_by(first, "Keys") == first


def test_the_title_of_the_sorted_column_has_an_arrow() -> None:
    titles = shown(page(), Filters(sort="-amount")).titles
    assert [title for title in titles.values() if title[-1] in "↑↓"] == ["Amount at risk ↓"]
    assert shown(page(), Filters(sort="since")).titles["Stuck for"] == "Stuck for ↑"


def test_the_same_table_stays_from_refresh_to_refresh_and_another_list_is_another() -> None:
    names = {shown(known, Filters(sort=sort)).list_name for known in (page(), page(summary())) for sort in ("", "id")}
    assert len(names) == 2


def test_pages_keep_their_filters() -> None:
    second = str(pager(page(summary(), cursor="n+1"), Filters(status="running", cursor="n")))
    assert "'/transactions?status=running&cursor=n%2B1', 'class': 'action'}, 'Next page'" in second
    assert "'/transactions?status=running', 'class': 'action'}, 'First page'" in second
    assert pager(page(summary()), Filters()) is None


@pytest.mark.parametrize(
    ("filters", "reason", "said"),
    [
        (Filters(q="zzz"), "never_seen", "Nothing found for “zzz”: no record like it was received."),
        (Filters(q="zzz"), "expired", "deleted since"),
        (Filters(q="zzz"), "not_a_saga", "they belong to no transaction"),
        (Filters(status="failed"), None, "No transaction matches all of these filters."),
        (Filters(), None, "No transaction has been received yet"),
    ],
)
def test_an_empty_page_gives_the_reason(filters: Filters, reason: str | None, said: str) -> None:
    assert said in empty_text(filters, found().model_copy(update={"reason": reason}))


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
            ],
            "total": 3,
        }
    )
    services = schemas.Services(items=[schemas.Service(service="wallet", instances=[], versions=[])], instances_total=0)
    known = filter_options(flows, services)
    assert known == {"name": ["payment", "refund"], "service": ["wallet"], "environment": ["eu"]}
    assert filter_options(None, None)["name"] == []
