"""Screens run by Streamlit's own test runner against a live collector."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

import sagascope_dashboard
from sagascope_dashboard import URL_VARIABLE, data
from sagascope_dashboard.screens import login
from sagascope_dashboard.urls import Filters
from support.browser import free_port
from support.collector import RunningCollector, running_collector

pytestmark = pytest.mark.xdist_group("dashboard")


def overview_screen() -> None:
    from sagascope_dashboard.screens import overview

    overview.page()


def incidents_screen() -> None:
    from sagascope_dashboard.screens import incidents

    incidents.list_page()


def transactions_screen() -> None:
    from sagascope_dashboard.screens import transactions

    transactions.page()


def flows_screen() -> None:
    from sagascope_dashboard.screens import flows

    flows.flows_page()


def flow_screen() -> None:
    from sagascope_dashboard.screens import flows

    flows.flow_page()


def health_screen() -> None:
    from sagascope_dashboard.screens import services

    services.health_page()


def compare_screen() -> None:
    from sagascope_dashboard.screens import compare

    compare.page()


def sql_screen() -> None:
    from sagascope_dashboard.screens import sql

    sql.page()


def services_screen() -> None:
    from sagascope_dashboard.screens import services

    services.services_page()


def saga_screen() -> None:
    from sagascope_dashboard.screens import saga

    saga.page()


def run(screen: Callable[[], None], **query: str) -> AppTest:
    app = AppTest.from_function(screen, default_timeout=30)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def components(app: AppTest) -> Iterator[tuple[str, dict[str, Any]]]:
    for element in app.main:
        if element.type == "bidi_component":
            yield element.proto.component_name, json.loads(element.proto.json)


def text(app: AppTest) -> str:
    """Everything that the page's own components say."""
    return " ".join(words(data["tree"]) for name, data in components(app) if name == "sagascope.elements")


def words(node: Any) -> str:
    if isinstance(node, str):
        return node
    children = node[2:] if node and isinstance(node[0], str) and len(node) > 1 and isinstance(node[1], dict) else node
    return " ".join(map(words, children))


@pytest.fixture(autouse=True)
def _reading(collector: RunningCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, collector.api)


def test_the_overview_shows_the_worst_first() -> None:
    app = run(overview_screen)
    said = text(app)
    assert "transactions need attention" in said
    assert "€100.00 committed" in said
    assert said.index("instance lost") < said.index("retrying")
    ids = listed(app)
    assert ids.index("8492") < ids.index("8533")


def test_a_list_shows_where_a_search_for_words_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data.sagas(Filters())
    assert whole.value is not None
    cut = replace(whole, value=whole.value.model_copy(update={"words_limit": 1_000}))
    monkeypatch.setattr(data, "sagas", lambda _: cut)
    assert "only the latest 1,000 are counted and listed" in text(run(transactions_screen, q="refused"))
    assert "have these words" not in text(run(overview_screen))


def listed(app: AppTest, column: str = "Transaction") -> list[str]:
    """The cells of a column of the last table."""
    return list(app.dataframe[-1].value[column]) if app.dataframe else []


def test_the_overview_is_narrowed_by_the_address() -> None:
    app = run(overview_screen, attention="retrying")
    assert listed(app) == ["8533"]
    assert "1 transaction needs attention" in text(app)
    assert app.selectbox(key="filter-attention").value == "retrying"
    assert listed(run(overview_screen, amount="50")) == ["hostile", "8492"]
    assert listed(run(overview_screen, amount="50.01")) == []
    assert "No attention needed" in text(run(overview_screen, name="nothing"))


def test_incidents_are_listed_each_with_its_reason() -> None:
    reasons = listed(run(incidents_screen), "Reason")
    assert {"Instance lost", "Retrying"} <= {label for cell in reasons for label in cell}


def test_a_saga_shows_its_current_step_and_reason() -> None:
    app = run(saga_screen, name="payment", id="8492")
    said = text(app)
    assert "Stuck in ledger.record" in said
    assert "Evidence" in said
    assert "Recommended action" in said
    (lanes,) = [data["lanes"] for name, data in components(app) if name == "sagascope.timeline"]
    assert [lane["name"] for lane in lanes] == ["orchestrator", "fraud", "wallet", "ledger"]


def test_other_tools_are_a_click_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGASCOPE_LINKS", "Jaeger=https://jaeger.example/{trace_id} Shop=https://shop.example/{id}")
    app = run(saga_screen, name="payment", id="8492")
    found = {element.proto.label: element.proto.url for element in app.main if element.type == "link_button"}
    assert found["Open in Shop"] == "https://shop.example/8492"
    assert found["Open in Jaeger"].startswith("https://jaeger.example/")


def test_only_the_table_that_is_looked_at_is_made() -> None:
    app = run(saga_screen, name="payment", id="9000")
    assert not app.dataframe
    app.session_state["saga-open-tab"] = "spans"
    app.run()
    assert len(app.dataframe) == 1


@pytest.mark.parametrize(
    ("key", "value"), [("saga-open-tab", "logs"), ("saga-open-tab", "spans"), ("saga-picture", "Sequence")]
)
def test_a_place_of_the_page_holds_either_an_element_or_a_container(key: str, value: str) -> None:
    app = run(saga_screen, name="payment", id="9000")
    before = dict(places(app.main))
    app.session_state[key] = value
    app.run()
    after = dict(places(app.main))
    assert after != before
    assert {
        place: is_container for place, is_container in after.items() if before.get(place, is_container) != is_container
    } == {}


def places(block: Block, above: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yields each place of the page, and whether a container is there."""
    for number, child in block.children.items():
        place = (*above, number)
        yield place, isinstance(child, Block)
        if isinstance(child, Block):
            yield from places(child, place)


def test_services_show_which_processes_do_not_report() -> None:
    app = run(services_screen)
    states = dict(zip(listed(app, "Process"), listed(app, "State"), strict=True))
    assert states["ledger-8492"] == ["Not reporting, work in flight"]
    assert states["wallet-8533"] == ["Reporting"]


def test_data_health_shows_what_arrives_and_how_to_improve_it() -> None:
    app = run(health_screen)
    assert "Received" in text(app)
    assert "ledger" in listed(app, "Service")
    assert any(each.label.startswith("No heartbeats are sent. (") for each in app.expander)
    assert any("sagascope.configure" in each.value for each in app.code)


def test_a_saga_is_compared_with_a_typical_one() -> None:
    said = text(run(compare_screen, name="payment", id="8492"))
    assert "9000" in said
    assert "shipping.book" in said
    assert "not reached" in said


def test_a_saga_without_a_similar_one_is_reported() -> None:
    assert "No other payment has been completed yet" in text(run(compare_screen, name="payment", id="9000"))
    assert "Which transaction?" in text(run(compare_screen))


def test_flows_count_each_type() -> None:
    app = run(flows_screen)
    assert "payment" in listed(app, "Type")
    assert sum(listed(app, "Need attention")) >= 2


def test_a_flow_is_shown_step_by_step() -> None:
    app = run(flow_screen, name="payment")
    steps, paths, transitions = (table.value for table in app.dataframe)
    assert "wallet.debit" in list(steps["Step"])
    assert {"p50", "p95", "p99"} <= set(steps)
    assert paths["Differs"].iloc[0] == "usual path"
    assert ("fraud.check", "wallet.debit") in set(
        zip(transitions["From the end of"], transitions["To the start of"], strict=True)
    )


def test_a_flow_that_was_never_received_is_unknown() -> None:
    assert "no such" in text(run(flow_screen, name="nothing")).lower()
    assert "Which flow?" in text(run(flow_screen))


def test_an_unknown_saga_is_reported_as_unknown() -> None:
    said = text(run(saga_screen, name="payment", id="nobody"))
    assert "No such transaction" in said
    assert "retries on its own" in said


def test_an_id_alone_leads_to_the_only_saga_that_has_it() -> None:
    said = text(run(saga_screen, id="8533"))
    assert "8533" in said
    assert "No such transaction" not in said


def test_an_address_without_an_id_asks_for_one() -> None:
    assert "Which transaction?" in text(run(saga_screen))


def test_the_list_holds_every_transaction() -> None:
    app = run(transactions_screen)
    assert {"8492", "8533", "8499", "9000"} <= set(listed(app))
    assert f"{len(listed(app))} transactions" in text(app)


def test_the_list_is_sorted_over_everything() -> None:
    assert listed(run(transactions_screen, sort="urgency", attention="any"))[:2] == ["hostile", "8492"]
    assert set(listed(run(transactions_screen, sort="-amount"))[:2]) == {"hostile", "8492"}
    assert set(listed(run(transactions_screen, sort="amount"))[-2:]) == {"hostile", "8492"}


def test_the_address_narrows_the_list_and_the_fields_show_it() -> None:
    app = run(transactions_screen, status="compensated", step="")
    assert listed(app) == ["8499"]
    assert app.selectbox(key="filter-status").value == "compensated"


def test_what_the_reader_chooses_goes_to_the_address() -> None:
    app = run(transactions_screen)
    app.selectbox(key="filter-attention").select("retrying").run()
    assert app.query_params["attention"] == "retrying"
    assert listed(app) == ["8533"]


def screen_of_the_state() -> None:
    import streamlit as st

    from sagascope_dashboard.screens import flows, overview, transactions

    {"overview": overview.page, "flows": flows.flows_page, "list": transactions.page}[st.session_state["screen"]]()


def test_fields_that_two_screens_share_are_there_after_a_third() -> None:
    app = AppTest.from_function(screen_of_the_state, default_timeout=30)
    for screen in ("overview", "flows", "list", "flows", "overview"):
        app.session_state["screen"] = screen
        app.run()
        assert not app.exception
    assert app.selectbox(key="filter-attention").value == ""


def test_a_value_in_the_address_that_nobody_knows_is_shown_and_finds_nothing() -> None:
    app = run(transactions_screen, service="nowhere")
    assert app.selectbox(key="filter-service").value == "nowhere"
    assert "No transaction matches" in text(app)


def test_a_value_that_cannot_be_meant_is_refused_in_words() -> None:
    assert "The collector refused the call" in text(run(transactions_screen, status="happy"))


@pytest.mark.parametrize("quoted", ["8492", "#8492", ' "8492" ', "A-8492"])
def test_a_search_that_means_one_transaction_leads_to_it(quoted: str) -> None:
    assert found(quoted).startswith("/saga?name=payment&id=8492")


@pytest.mark.parametrize(("quoted", "place"), [("zzz", "/transactions?q=zzz"), ("8", "/transactions?q=8")])
def test_any_other_search_leads_to_the_list(quoted: str, place: str) -> None:
    assert found(quoted) == place


def found(quoted: str) -> str:
    app = AppTest.from_file(Path(sagascope_dashboard.__file__).with_name("app.py"), default_timeout=30).run()
    app.text_input[0].input(quoted)
    app.button[0].click().run()
    assert not app.exception
    return str(next(data["go"] for name, data in components(app) if name == "sagascope.elements"))


def test_the_header_does_not_wait_for_whether_sql_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def ask() -> str:
        done.append("asked")
        return "off"

    monkeypatch.setattr(login, "render_logout", lambda: done.append("header"))
    monkeypatch.setattr(data, "_query_sql_access", ask)
    data._last_access.clear()
    AppTest.from_file(Path(sagascope_dashboard.__file__).with_name("app.py"), default_timeout=30).run()
    data._last_access.clear()
    assert done == ["header", "asked"]


def test_where_sql_is_off_there_is_no_such_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_collector(None, "--no-sql") as collector:
        monkeypatch.setenv(URL_VARIABLE, collector.api)
        app = AppTest.from_file(Path(sagascope_dashboard.__file__).with_name("app.py"), default_timeout=30).run()
        assert [each.proto.label for each in app.main if each.type == "page_link"][-1] == "Data health"
        assert "sagascope serve --sql" in text(run(sql_screen))


def test_the_list_gives_the_reason_for_an_empty_search() -> None:
    assert "no record like it was received" in text(run(transactions_screen, q="zzz"))


@pytest.mark.parametrize(
    "screen",
    [overview_screen, incidents_screen, transactions_screen, saga_screen, flows_screen, flow_screen, services_screen],
)
def test_without_a_collector_each_screen_reports_it(
    screen: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{free_port()}")
    app = run(screen, name="payment", id="8492")
    assert "The collector does not answer" in text(app)
    assert any(button.label == "Try now" for button in app.button)


def test_what_was_known_stays_when_the_collector_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(saga_screen, name="payment", id="8492")
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{free_port()}")
    app.run()
    assert "Stuck in ledger.record" in text(app)
    assert "The data shown is from" in text(app)


def test_something_else_that_answers_is_no_collector(
    collector: RunningCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, collector.otlp_http)
    assert "This is not a Sagascope collector" in text(run(overview_screen))
