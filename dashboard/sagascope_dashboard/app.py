"""The dashboard's frame: theme, header, navigation. Streamlit runs this file anew for every change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import streamlit as st

from sagascope_dashboard import data
from sagascope_dashboard.components.elements import Element, h, icon, link, render, render_keys
from sagascope_dashboard.components.lists import forget_choice
from sagascope_dashboard.screens import compare, flows, incidents, login, overview, saga, services, sql, transactions
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.transactions import only_match

PACKAGE_FOLDER = Path(__file__).parent


def header(pages: Sequence[Any], *, focus_search: bool) -> None:
    """Renders the header. A search with one match opens its saga, any other to the list."""
    with st.container(key="header", horizontal=True, vertical_alignment="center"):
        brand = st.container(key="brand-container", width="content")
        with st.form("search", border=False, clear_on_submit=True):
            query = st.text_input(
                "Find a transaction", placeholder="Find 8492, an order, a trace", label_visibility="collapsed"
            ).strip()
            submitted = st.form_submit_button("Find")
        for page in pages:
            st.page_link(page)
        data.read_kept_utc()
        render("utc-switch", utc_switch(), width="content", on_choice=data.choose_zone)
        login.render_logout()
        render_keys(focus=focus_search)
    with brand:  # filled last: it follows the link that a search has found
        target = search_target(query) if submitted and query else None
        link_home = link("/", icon("brand"), "Sagascope")
        frame = h("div", link_home, cls="brand", data_page_run=uuid4().hex, data_page_query=page_query())
        render("brand", frame, go=target, width="content")


def utc_switch() -> Element:
    """Returns the switch for times in UTC. It is not `st.toggle`, whose message Streamlit loses now and then."""
    shown = {
        "role": "switch",
        "aria_checked": str(data.is_utc()).lower(),
        "title": "Times in UTC, in place of your own zone",
    }
    choice = data.LOCAL_CHOICE if data.is_utc() else data.UTC_CHOICE
    return h("button", h("span", cls="track"), "UTC", type="button", cls="switch", data_choice=choice, **shown)


def page_query() -> str:
    """Returns the query that the page runs with, in a form that does not depend on order and quoting."""
    return "&".join(sorted(f"{key}={value}" for key in st.query_params for value in st.query_params.get_all(key)))


def search_target(query: str) -> str:
    """Returns the link to the only match of a search, else to the list of its matches."""
    result = data.search(query).value
    address = only_match(result) if result else None
    return address.href() if address else Filters(q=query).href()


def main() -> None:
    """Renders the page that the URL names."""
    st.set_page_config(page_title="Sagascope", page_icon=str(PACKAGE_FOLDER / "static" / "icon.svg"), layout="wide")
    st.html(PACKAGE_FOLDER / "app.css")
    forget_choice()
    if login.is_required():
        login.page()
        st.stop()
    start = st.Page(overview.page, title="Overview", default=True, url_path="overview")
    listed = [
        start,
        st.Page(incidents.list_page, title="Incidents", url_path="incidents"),
        st.Page(transactions.page, title="Transactions", url_path="transactions"),
        st.Page(flows.flows_page, title="Flows", url_path="flows"),
        st.Page(services.services_page, title="Services", url_path="services"),
        st.Page(services.health_page, title="Data health", url_path="health"),
    ]
    unlisted = [
        st.Page(saga.page, title="Transaction", url_path="saga"),
        st.Page(compare.page, title="Compare", url_path="compare"),
        st.Page(flows.flow_page, title="Flow", url_path="flow"),
        st.Page(incidents.page, title="Incident", url_path="incident"),
    ]
    is_sql_listed = sql.is_offered(data.known_sql_access())
    (listed if is_sql_listed else unlisted).append(st.Page(sql.page, title="SQL", url_path="sql"))
    current = st.navigation([*listed, *unlisted], position="hidden")
    st.set_page_config(page_title=f"{current.title} · Sagascope")  # again, as the page is known only now
    header(listed, focus_search=current == start)
    current.run()
    if sql.is_offered(data.sql_access()) != is_sql_listed:  # asked last, as it may take long
        st.rerun()


if __name__ == "__main__":
    main()
