"""A filter of the list of sagas is declared once; API, client, command line, dashboard and SQL take it from there."""

import inspect
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from sagascope_collector.api.parameters import SagasQuery
from sagascope_collector.cli.sagas import triage
from sagascope_collector.client import SagaFilters
from sagascope_collector.saga_filters import FILTERS
from sagascope_collector.storage.listing import SQL
from sagascope_dashboard.components.lists import FIELD_LABELS, chips
from sagascope_dashboard.screens import overview, transactions
from sagascope_dashboard.urls import Filters

PAGE = {"sort", "limit", "cursor"}

UNUSED_IN_ADDRESSES = {"alone"}
"""Only the first screen asks for it."""

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])


def test_the_parameters_of_the_api_are_the_filters_and_the_page() -> None:
    assert set(SagasQuery.model_fields) == set(FILTERS) | PAGE


def test_every_filter_is_an_option_of_triage_with_its_description() -> None:
    options = inspect.signature(triage).parameters
    for name, field in SagaFilters.model_fields.items():
        (option,) = options[name].annotation.__metadata__
        assert option.default.split("/")[0] == f"--{name}"
        assert option.help == field.description


def test_the_address_of_a_list_holds_every_filter_and_the_page() -> None:
    assert {field.name for field in fields(Filters)} == set(FILTERS) - UNUSED_IN_ADDRESSES | PAGE - {"limit"}


@pytest.mark.parametrize("page", [overview, transactions])
@pytest.mark.parametrize("name", sorted({field.name for field in fields(Filters)} - PAGE))
def test_the_dashboard_shows_every_filter_that_is_set(name: str, page: ModuleType) -> None:
    if name in page.FILTER_FIELDS:
        assert name in FIELD_LABELS
    else:
        others = Filters(service="wallet", sort="-updated")
        shown = chips(others.with_changes(**{name: "2026-11-22T14:02:11Z"}), page.FILTER_FIELDS, Filters.href)
        assert others.href() in str(shown)  # a link that removes only this one


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_has_its_condition_in_sql(name: str) -> None:
    assert re.search(rf"\(\s*\${name} IS NULL\s+OR ", SQL["matching"])


@given(
    since=st.datetimes(datetime(1970, 1, 3), datetime(2262, 1, 1), timezones=ZONES),
    alone=st.booleans(),
    name=st.text(min_size=1, max_size=20),
)
def test_the_api_reads_what_the_client_sends(since: datetime, alone: bool, name: str) -> None:
    sent = SagaFilters(since=since, alone=alone, name=name, path='["a"]')
    assert SagaFilters.model_validate(sent.query()) == sent


@pytest.mark.parametrize(
    "wrong", [{"status": "done"}, {"since": "yesterday"}, {"path": "a,b"}, {"color": "red"}, {"name": ""}]
)
def test_a_wrong_filter_is_refused_before_it_is_sent(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SagaFilters.model_validate(wrong)
