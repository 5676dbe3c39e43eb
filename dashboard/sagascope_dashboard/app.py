"""The dashboard's frame: theme, header, navigation. Streamlit runs this file anew for every change."""

from pathlib import Path

import streamlit as st

from sagascope_dashboard import places
from sagascope_dashboard.screens import masthead, saga, transactions, triage

HERE = Path(__file__).parent

st.set_page_config(page_title="Sagascope", page_icon=str(HERE / "static" / "icon.svg"), layout="wide")
st.html(HERE / "app.css")

pages = {
    "": st.Page(triage.draw, title="Triage", default=True),
    "transactions": st.Page(transactions.draw, title="Transactions", url_path="transactions"),
    "saga": st.Page(saga.draw, title="Transaction", url_path="saga"),
}
here = st.navigation(list(pages.values()), position="hidden")
places.remember(pages)
masthead.draw(pages)
here.run()
