"""The screen that compares a saga with a typical completed one of its type, both from their start."""

from datetime import datetime
from typing import Any

import altair as alt
import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components.charts import SECONDS_LABEL, theme_color
from sagascope_dashboard.components.elements import (
    Element,
    badge,
    empty_state,
    h,
    link,
    message,
    render,
    value_or_error,
)
from sagascope_dashboard.components.lists import TONE_COLORS
from sagascope_dashboard.formatting import duration, line, plural, saga_style
from sagascope_dashboard.urls import Filters, SagaAddress
from sagascope_dashboard.viewmodels.compare import AttemptBar, Comparison, StepRow, compare, typical_saga
from sagascope_dashboard.viewmodels.timeline import adjust_clocks, clock_offsets

COMPRESSED, EVEN = "Compressed", "Even"

COMPRESS_FACTOR = 4.0
"""Ratio of this saga's duration to the typical one from which the time axis is initially compressed."""

TICKS_SECONDS = (0, 0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400)
"""Times that have a label on a compressed axis."""

LINE_NAMES = ("name", "this", "typical")
"""The lines of a step, from top to bottom."""

LEGEND = (
    "Dashed: not reached, where the other one has it. Hollow: in progress. "
    "Yellow: beyond the time that the typical one took for the step."
)


def head(comparison: Comparison, now: datetime) -> list[Element | None]:
    """Builds what is above the timelines."""
    this, other = comparison.this, comparison.reference
    title = f"{line(this.id, 60)} beside {line(other.id, 60)}"
    return [
        h("h1", h("span", f"{line(this.name, 80)} ", cls="type"), title, cls="page-title"),
        h(
            "div",
            _compared_saga(this, now, "This one"),
            _compared_saga(other, now, "A typical completed one"),
            cls="pair",
        ),
        _summary(comparison),
    ]


def nothing_to_compare(name: str, href: str) -> list[Element]:
    """Builds the page for a saga without another to compare with."""
    words = f"No other {name} has been completed yet, so there is nothing to compare with."
    text = empty_state(words)
    return [h("h1", "Compare", cls="page-title"), text, h("p", link(href, "Back to the transaction"))]


def _compared_saga(saga: schemas.Saga, now: datetime, title: str) -> Element:
    href = SagaAddress(saga.name, saga.id, saga.environment, saga.run).href()
    seconds = ((saga.ended_at or now) - saga.started_at).total_seconds()
    text = f"{'took' if saga.ended_at else 'open for'} {duration(seconds)}"
    facts = h("p", h("strong", link(href, line(saga.id, 60))), badge(saga_style(saga)), h("span", text))
    return h("section", h("h2", title), facts, cls="service")


def _summary(comparison: Comparison) -> Element:
    if not comparison.summary:
        return h("p", "No step differs.", cls="section", role="status")
    items = [h("li", each) for each in comparison.summary]
    return h("section", h("h2", "What differs"), h("ul", items, cls="differences"), cls="section")


def _timelines(comparison: Comparison) -> None:
    is_long = comparison.length > COMPRESS_FACTOR * comparison.reference_length
    render("compare-timelines", h("h2", "Both from their start", cls="section"))
    axis = st.segmented_control("Time", (COMPRESSED, EVEN), default=COMPRESSED if is_long else EVEN, key="compare-axis")
    chart = timelines(comparison, is_compressed=axis == COMPRESSED)
    st.altair_chart(chart, alt="Both timelines")
    render("compare-legend", h("p", LEGEND, cls="muted"))
    if comparison.rows_left_out:
        words = f"Not shown: {plural(comparison.rows_left_out, 'further step')}."
        render("compare-left-out", h("p", words, cls="muted"))


def timelines(comparison: Comparison, *, is_compressed: bool) -> Any:
    """Returns three lines for each step: its name with the differences, this one, and the typical one."""
    ink, background = theme_color("textColor", "#000000"), theme_color("backgroundColor", "#ffffff")
    gray, yellow = theme_color("grayTextColor", "#606060"), theme_color("yellowColor", "#a07000")
    bars = [value for index, row in enumerate(comparison.rows) for value in _bar_values(index, row)]
    names = [
        {
            "row": index,
            "line": "name",
            "text": f"{row.name}: {', '.join(row.differences)}" if row.differences else row.name,
            "color": theme_color("redTextColor", "#900000") if row.differences else ink,
            "weight": 700 if row.differences else 400,
        }
        for index, row in enumerate(comparison.rows)
    ]
    late = [
        {"row": index, "line": "this", "start": row.late_from, "end": max(bar.end for bar in row.this)}
        for index, row in enumerate(comparison.rows)
        if row.late_from is not None
    ]
    sides = [
        {"row": index, "line": side, "text": side}
        for index in range(len(comparison.rows))
        for side in ("this", "typical")
    ]
    times = alt.X(
        "start:Q",
        title="Since the start",
        scale=_scale(comparison, is_compressed),
        axis=_axis(comparison, is_compressed),
    )

    def of(values: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.InlineData(values=values)).encode(
            y=alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0.25)),
            yOffset=alt.YOffset("line:N", scale=alt.Scale(domain=list(LINE_NAMES))),
        )

    attempts = (
        of(bars)
        .mark_bar(cornerRadius=2, minBandSize=3, strokeWidth=1.5)
        .encode(
            x=times,
            x2="end:Q",
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
            strokeDash=alt.StrokeDash(
                "dash:N", scale=alt.Scale(domain=["solid", "dashed"], range=[[1, 0], [4, 3]]), legend=None
            ),
            description="text:N",
            tooltip=alt.Tooltip("text:N", title="Attempt"),
        )
    )
    longer = of(late).mark_bar(color=yellow, height=4, yOffset=8).encode(x="start:Q", x2="end:Q")
    texts = (
        of(names)
        .mark_text(align="left", dx=-SIDE_PIXELS, fontSize=13)
        .encode(x=alt.value(0), text="text:N", color=alt.Color("color:N", scale=None))
    )
    labels = of(sides).mark_text(align="right", dx=-6, fontSize=11, color=gray).encode(x=alt.value(0), text="text:N")
    return (
        alt.layer(attempts, longer, labels, texts)
        .properties(height=alt.Step(20, **{"for": "offset"}))
        .configure_view(stroke=None, fill=background)
    )


SIDE_PIXELS = 48
"""Width of the names of the two lines, left of the axis."""


def _bar_values(index: int, row: StepRow) -> list[dict[str, Any]]:
    values = [
        _bar_value(index, side, bar) for side, bars in (("this", row.this), ("typical", row.reference)) for bar in bars
    ]
    for side, bars, others in (("this", row.this, row.reference), ("typical", row.reference, row.this)):
        if not bars:  # a dashed frame where the other one has it
            color = theme_color("redColor", "#b00020")
            start, end = others[0].start, max(bar.end for bar in others)
            frame = {"fill": "transparent", "stroke": color, "dash": "dashed", "text": f"{row.name}: not reached"}
            values.append({"row": index, "line": side, "start": start, "end": end, **frame})
    return values


def _bar_value(index: int, side: str, bar: AttemptBar) -> dict[str, Any]:
    color = theme_color(f"{TONE_COLORS[bar.style.tone]}Color", "#808080")
    look = {"fill": "transparent" if bar.is_open else color, "stroke": color, "dash": "solid", "text": bar.text}
    return {"row": index, "line": side, "start": bar.start, "end": bar.end, **look}


def _scale(comparison: Comparison, is_compressed: bool) -> alt.Scale:
    domain = [0, comparison.length or 1.0]
    if not is_compressed:
        return alt.Scale(domain=domain)
    return alt.Scale(domain=domain, type="symlog", constant=max(comparison.reference_length / 5, 0.001))


def _axis(comparison: Comparison, is_compressed: bool) -> alt.Axis:
    if not is_compressed:
        return alt.Axis(labelExpr=SECONDS_LABEL, tickCount=8)
    first_tick = comparison.reference_length / 10
    ticks = [each for each in TICKS_SECONDS if not each or first_tick <= each <= comparison.length]
    return alt.Axis(labelExpr=SECONDS_LABEL, values=ticks)


def _attributes(comparison: Comparison) -> None:
    if not comparison.attributes:
        return
    cut = h("p", f"and {comparison.left_out:,} more", cls="muted") if comparison.left_out else None
    render("compare-attributes", h("h2", "Attributes that differ", cls="section"))
    rows = [
        {"Attribute": name, "This one": this or None, "A typical one": reference or None}
        for name, this, reference in comparison.attributes
    ]
    st.dataframe(rows, hide_index=True, placeholder="absent", alt="Attributes that differ")
    render("compare-attributes-cut", cut)


def page() -> None:
    """Renders the saga that the URL names beside a typical completed one."""
    address = SagaAddress.parse(st.query_params.to_dict())
    if address is None:
        render("compare-which", message("Which transaction?", "Type its id above."))
        return
    _live_content(address)


@st.fragment(run_every=data.REFRESH_INTERVAL_SECONDS)
def _live_content(address: SagaAddress) -> None:
    this = value_or_error("compare", data.saga(address))
    if this is None:
        return
    other = _reference_address(this)
    reference = data.saga(other).value if other else None
    if reference is None:
        render("compare", *nothing_to_compare(line(this.name, 80), address.href()))
    else:
        now = data.now()
        comparison = compare(_adjusted(this), _adjusted(reference), now)
        render("compare", *head(comparison, now))
        _timelines(comparison)
        _attributes(comparison)


def _adjusted(saga: schemas.Saga) -> schemas.Saga:
    return adjust_clocks(saga, clock_offsets(saga))


def _reference_address(saga: schemas.Saga) -> SagaAddress | None:
    """Returns the completed saga to compare with; it stays the same while the page is open."""
    key = f"like {saga.environment!r} {saga.name!r} {saga.id!r} {saga.run!r}"
    if key not in st.session_state:
        finished = data.sagas(Filters(status="completed", name=saga.name, environment=saga.environment)).value
        found = typical_saga(finished.items, saga) if finished else None
        if found is None:
            return None
        st.session_state[key] = SagaAddress(found.name, found.id, found.environment, found.run)
    chosen: SagaAddress = st.session_state[key]
    return chosen
