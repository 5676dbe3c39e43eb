from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, strategies as st

from sagascope_dashboard import LINKS_VARIABLE, environment
from sagascope_dashboard.formatting import epoch_ms
from sagascope_dashboard.urls import Filters, Link, SagaAddress, incident_links, links, parse_templates, split_templates
from support.wires import NOON, TRACE, saga, shared, steps, tried

NOW = datetime(2026, 11, 22, 14, 2, 33, tzinfo=UTC)
texts = st.text(max_size=20).filter(lambda text: text.isprintable())


def query(href: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(href).query, keep_blank_values=True))


@given(st.builds(Filters, q=texts, status=texts, service=texts, step=texts, since=texts, cursor=texts, sort=texts))
def test_a_view_of_the_list_comes_back_from_its_address(filters: Filters) -> None:
    assert Filters.parse(query(filters.href())) == filters


@given(st.builds(SagaAddress, texts.filter(bool), texts.filter(bool), st.none() | texts, st.none() | texts))
def test_a_saga_comes_back_from_its_address(address: SagaAddress) -> None:
    assert SagaAddress.parse(query(address.href())) == address


def test_a_saga_whose_name_was_never_received_is_unknown() -> None:
    assert SagaAddress.parse({"id": "8492"}) == SagaAddress("unknown", "8492")


def test_an_address_without_an_id_names_no_saga() -> None:
    assert SagaAddress.parse({"name": "payment"}) is None


def test_other_parameters_of_an_address_are_ignored() -> None:
    assert Filters.parse({"status": "failed", "colour": "red", "step": ""}) == Filters(status="failed")


def test_another_narrowing_or_order_begins_at_the_first_page() -> None:
    second = Filters(cursor="abc", status="failed")
    assert second.with_changes(service="ledger").cursor == ""
    assert second.with_changes(sort="id").cursor == ""
    assert second.with_changes(cursor="d").status == "failed"


def test_a_window_counts_back_from_now_in_whole_minutes() -> None:
    assert Filters(since="1h", sort="-id").api_arguments(NOW) == {"since": "2026-11-22T13:02:00Z", "sort": "-id"}
    assert Filters(since="1h", sort="nonsense").api_arguments(NOW) == {"since": "2026-11-22T13:02:00Z"}
    assert Filters(since="2026-11-01T00:00:00Z").api_arguments(NOW) == {"since": "2026-11-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("filters", "is_filtered"), [(Filters(), False), (Filters(sort="id", cursor="x"), False), (Filters(q="1"), True)]
)
def test_order_and_page_leave_nothing_out(filters: Filters, is_filtered: bool) -> None:
    assert filters.is_filtered() is is_filtered


def urls(*written: str, **changes: object) -> list[str]:
    return [each.url for each in links(parse_templates(written), saga(**changes))]


def test_fields_are_filled_in_and_quoted() -> None:
    assert urls("X=https://x.example/{name}/{id}?o={key.order}", id="a/b&c=<d>", keys={"order": "ord 7#"}) == [
        "https://x.example/payment/a%2Fb%26c%3D%3Cd%3E?o=ord%207%23"
    ]


def test_the_trace_is_that_of_the_attempt_at_which_it_stands() -> None:
    tries = steps(
        tried("wallet.debit", 0, 1), tried("ledger.record", 1, 2, "error"), tried("ledger.record", 3, 4, number=2)
    )
    assert urls("J=https://j.example/{trace_id}/{span_id}", steps=tries, step="ledger.record") == [
        f"https://j.example/{TRACE}/ledger.record-2"
    ]


def test_the_idempotency_key_is_that_of_the_latest_attempt() -> None:
    tries = steps(tried("a.b", 0, 1, "error"), tried("a.b", 2, 3, number=2))
    (first, second) = tries[0].attempts
    keyed = [first, second.model_copy(update={"idempotency_key": "pay 1/2"})]
    tries = [tries[0].model_copy(update={"attempts": keyed})]
    written = "Stripe=https://stripe.example/keys?q={idempotency_key}"
    assert urls(written, steps=tries, step="a.b") == ["https://stripe.example/keys?q=pay%201%2F2"]
    assert urls(written, steps=tries) == []


def test_the_idempotency_key_is_that_of_an_item_that_is_not_done() -> None:
    (done,) = steps(tried("a.b", 4, 5))
    (stuck,) = steps(tried("a.b", 0, 1, "error"))
    items = [
        each.model_copy(update={"key": key, "attempts": [each.attempts[0].model_copy(update={"idempotency_key": key})]})
        for each, key in ((stuck, "item-1"), (done, "item-2"))
    ]
    assert urls("S=https://s.example/{idempotency_key}", steps=items, step="a.b") == ["https://s.example/item-1"]


def test_a_value_leads_to_no_other_folder() -> None:
    assert urls("X=https://x.example/a/{id}", id="..") == urls("X=https://x.example/a/{id}", id=".") == []


def test_an_incident_has_the_links_for_which_its_transactions_agree() -> None:
    known = parse_templates(
        ["L=https://l.example/{service}?step={step}&from={started_ms}", "J=https://j.example/{trace_id}"]
    )
    assert incident_links(known, shared(step="a b")) == (
        Link("L", f"https://l.example/ledger?step=a%20b&from={epoch_ms(NOON):.0f}"),
    )


def test_a_name_of_a_link_may_hold_blanks() -> None:
    given = ["Grafana logs=https://g.example/{id}", "J=https://j.example/{id}"]
    assert split_templates(environment("http://c", given)[LINKS_VARIABLE]) == given
    assert split_templates("A=https://a.example B=https://b.example") == ["A=https://a.example", "B=https://b.example"]


def test_a_tool_for_which_something_is_missing_is_left_out() -> None:
    known = parse_templates(["A=https://a.example/{key.order}", "B=https://b.example/{started_ms}"])
    assert links(known, saga(keys={})) == (Link("B", "https://b.example/1795356130000"),)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("Jaeger", "is not a link"),
        ("=https://x.example", "is not a link"),
        ("X=javascript:alert(1)", "must begin with http"),
        ("X=//x.example/{id}", "must begin with http"),
        ("X=https://{id}.example/", "a host without fields"),
        ("X=https://x.example/{secret}", "'secret'"),
        ("X=https://x.example/{}", "unknown"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_templates([written])


def test_later_pages_of_a_window_keep_its_start() -> None:
    first = Filters(since="1h", sort="id")
    start = first.api_arguments(datetime(2026, 11, 22, 15, 0, tzinfo=UTC))
    second = first.with_changes(cursor=first.next_cursor("abc", start) or "")
    later = second.api_arguments(datetime(2026, 11, 22, 15, 9, tzinfo=UTC))
    assert later == start | {"cursor": "abc"}
    assert Filters(status="failed").next_cursor("abc", {}) == "abc"
    assert first.next_cursor(None, start) is None


def test_a_list_has_a_window_over_which_it_is_counted() -> None:
    assert (Filters().window(NOW), Filters(since="1h").window(NOW)) == ("24h", "1h")
    moments = {"since": "2026-11-22T12:00:00Z", "until": "2026-11-22T12:10:00.000Z"}
    assert Filters(**moments).window(NOW) == "15m"
    assert Filters(since=moments["since"]).window(NOW) == "24h"
