from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagascope_dashboard.urls import Filters, SagaAddress

NOW = datetime(2026, 11, 22, 14, 2, 33, tzinfo=UTC)
texts = st.text(max_size=20).filter(lambda text: text.isprintable())


def query(href: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(href).query, keep_blank_values=True))


@given(st.builds(Filters, q=texts, status=texts, service=texts, step=texts, since=texts, cursor=texts, sort=texts))
def test_a_view_of_the_list_comes_back_from_its_address(filters: Filters) -> None:
    assert Filters.read(query(filters.href())) == filters


@given(st.builds(SagaAddress, texts.filter(bool), texts.filter(bool), st.none() | texts, st.none() | texts))
def test_a_saga_comes_back_from_its_address(address: SagaAddress) -> None:
    assert SagaAddress.read(query(address.href())) == address


def test_a_saga_whose_name_was_never_received_is_unknown() -> None:
    assert SagaAddress.read({"id": "8492"}) == SagaAddress("unknown", "8492")


def test_an_address_without_an_id_names_no_saga() -> None:
    assert SagaAddress.read({"name": "payment"}) is None


def test_other_parameters_of_an_address_are_ignored() -> None:
    assert Filters.read({"status": "failed", "colour": "red", "step": ""}) == Filters(status="failed")


def test_another_narrowing_or_order_begins_at_the_first_page() -> None:
    second = Filters(cursor="abc", status="failed")
    assert second.having(service="ledger").cursor == ""
    assert second.having(sort="id").cursor == ""
    assert second.having(cursor="d").status == "failed"


def test_a_window_counts_back_from_now_in_whole_minutes() -> None:
    assert Filters(since="1h", sort="-id").call(NOW) == {"since": "2026-11-22T13:02:00Z", "sort": "-id"}
    assert Filters(since="1h", sort="nonsense").call(NOW) == {"since": "2026-11-22T13:02:00Z"}
    assert Filters(since="2026-11-01T00:00:00Z").call(NOW) == {"since": "2026-11-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("filters", "narrows"), [(Filters(), False), (Filters(sort="id", cursor="x"), False), (Filters(q="1"), True)]
)
def test_order_and_page_leave_nothing_out(filters: Filters, narrows: bool) -> None:
    assert filters.narrows() is narrows
