"""The dashboard's pages, and going from one to another without loading anew."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import streamlit as st

_KEPT = "places"


def remember(pages: dict[str, Any]) -> None:
    """Keep the pages of this run, by their path, for `go`."""
    st.session_state[_KEPT] = pages


def go(href: str | None) -> None:
    """Follow a link within the dashboard; None: stay."""
    if href is None:
        return
    address = urlsplit(href)
    page = st.session_state[_KEPT].get(address.path.strip("/"))
    if page is not None:
        st.switch_page(page, query_params=dict(parse_qsl(address.query, keep_blank_values=True)))


def query() -> dict[str, str]:
    """What the address says behind ``?``."""
    return dict(st.query_params.to_dict())
