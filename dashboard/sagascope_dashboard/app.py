"""The dashboard's frame: theme, header, navigation. Streamlit runs this file anew for every change."""

from pathlib import Path

import streamlit as st

from sagascope_dashboard.screens import flows, incident, masthead, saga, services, transactions, triage

HERE = Path(__file__).parent

st.set_page_config(page_title="Sagascope", page_icon=str(HERE / "static" / "icon.svg"), layout="wide")
st.html(HERE / "app.css")

start = st.Page(triage.draw, title="Triage", default=True)
transaction_list = st.Page(transactions.draw, title="Transactions", url_path="transactions")
kinds = st.Page(flows.draw, title="Flows", url_path="flows")
processes = st.Page(services.draw, title="Services", url_path="services")
one_transaction = st.Page(saga.draw, title="Transaction", url_path="saga")
one_incident = st.Page(incident.draw, title="Incident", url_path="incident")

listed = [start, transaction_list, kinds, processes]
here = st.navigation([*listed, one_transaction, one_incident], position="hidden")
masthead.draw(listed, start=here == start)
here.run()
