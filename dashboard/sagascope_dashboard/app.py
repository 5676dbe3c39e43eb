"""The dashboard's frame: theme, header, navigation. Streamlit runs this file anew for every change."""

from pathlib import Path

import streamlit as st

from sagascope_dashboard.screens import (
    compare,
    flows,
    health,
    incidents,
    login,
    masthead,
    saga,
    services,
    transactions,
    triage,
)

HERE = Path(__file__).parent

st.set_page_config(page_title="Sagascope", page_icon=str(HERE / "static" / "icon.svg"), layout="wide")
st.html(HERE / "app.css")

if login.wanted():
    login.draw()
    st.stop()

start = st.Page(triage.draw, title="Triage", default=True)
transaction_list = st.Page(transactions.draw, title="Transactions", url_path="transactions")
kinds = st.Page(flows.draw_flows, title="Flows", url_path="flows")
processes = st.Page(services.draw, title="Services", url_path="services")
arriving = st.Page(health.draw, title="Data health", url_path="health")
one_transaction = st.Page(saga.draw, title="Transaction", url_path="saga")
two_transactions = st.Page(compare.draw, title="Compare", url_path="compare")
one_kind = st.Page(flows.draw_flow, title="Flow", url_path="flow")
one_incident = st.Page(incidents.draw, title="Incident", url_path="incident")

listed = [start, transaction_list, kinds, processes, arriving]
here = st.navigation([*listed, one_transaction, two_transactions, one_kind, one_incident], position="hidden")
masthead.draw(listed, start=here == start)
here.run()
