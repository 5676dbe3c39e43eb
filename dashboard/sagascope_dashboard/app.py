"""The dashboard's frame: theme, header, navigation. Streamlit runs this file anew for every change."""

from pathlib import Path

import streamlit as st

from sagascope_dashboard.screens import masthead, saga, transactions, triage

HERE = Path(__file__).parent

st.set_page_config(page_title="Sagascope", page_icon=str(HERE / "static" / "icon.svg"), layout="wide")
st.html(HERE / "app.css")

start = st.Page(triage.draw, title="Triage", default=True)
transaction_list = st.Page(transactions.draw, title="Transactions", url_path="transactions")
one_transaction = st.Page(saga.draw, title="Transaction", url_path="saga")

here = st.navigation([start, transaction_list, one_transaction], position="hidden")
masthead.draw([start, transaction_list], start=here == start)
here.run()
