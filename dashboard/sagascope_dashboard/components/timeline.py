"""The component that draws a timeline."""

from dataclasses import asdict

import streamlit as st

from sagascope_dashboard.components.scripts import TIMELINE, read
from sagascope_dashboard.viewmodels.timeline import Timeline

_mount = st.components.v2.component(
    "sagascope.timeline", css=read("timeline.css"), js=read(*TIMELINE), isolate_styles=False
)


def timeline(key: str, drawn: Timeline) -> None:
    """Draw a timeline; later calls with the same `key` change in place what differs.

    Zoom, opened stretches, the selected bar and the focus stay with the reader.
    """
    _mount(key=key, data=asdict(drawn))
