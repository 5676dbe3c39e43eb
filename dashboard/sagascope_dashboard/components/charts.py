"""Charts over time, and of shares, in the reader's theme; a bar of them can be chosen."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import altair as alt
import streamlit as st

from sagascope_collector.client import schemas
from sagascope_dashboard import data
from sagascope_dashboard.components import lists
from sagascope_dashboard.components.elements import h, render
from sagascope_dashboard.components.lists import TONE_COLORS
from sagascope_dashboard.formatting import BY_STATUS, Style, epoch_ms, iso, line, mixed, shades
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.flows import Edge, Node
from sagascope_dashboard.viewmodels.services import Deployment

CHOSEN = "chosen"
"""The name of the selection: the bar that was clicked."""

HEIGHT_PIXELS = 240

CHART_PIXELS = 340
"""Height of a chart that is shown alone."""

MAX_NAMED_DEPLOYMENTS = 3
"""Deployments at one time that a chart names."""

DEPLOYMENT_GROUPING_SHARE = 0.02
"""Deployments closer than this share of the window have one mark."""

PADDING = {"left": 0, "right": 8, "top": 0, "bottom": 0}

MIN_MS_WITHOUT_SECONDS = 10 * 60_000
"""The shortest window whose axis has no seconds."""

MAX_MS_WITHOUT_DATE = 2 * 86_400_000
"""The longest window whose axis has times of day alone."""


@dataclass(frozen=True, slots=True)
class BarPart:
    """A part of a stacked bar."""

    code: str
    start: datetime
    number: int


def bars(counts: schemas.Counts, kind: str) -> list[BarPart]:
    """Returns the bars of ``started`` or ``attention``."""
    return [
        BarPart(code, each.at, number)
        for each in counts.series
        for code, number in getattr(each, kind).items()
        if number
    ]


def chart_over_time(
    shown: Sequence[BarPart],
    styles: Mapping[str, Style],
    colors: Mapping[str, str],
    counts: schemas.Counts,
    deployed: Sequence[Deployment] = (),
) -> Any:
    """Returns stacked bars over the window of `counts`, in the order of `styles` from the axis on."""
    values = _stacked(shown, styles, counts.period * 1000)
    codes = [code for code in styles if any(bar.code == code for bar in shown)]
    start, end = _domain(counts)
    times = time_format(start, end)
    chosen = alt.selection_point(name=CHOSEN, fields=["code", "at"], on="click", clear=False)
    stacks = (
        alt.Chart(alt.InlineData(values=values))
        .mark_rect(cursor="pointer")
        .encode(
            x=alt.X("at:T", title=None, scale=time_scale(domain=[start, end]), axis=alt.Axis(format=times)),
            x2="end:T",
            y=alt.Y("from:Q", title="Transactions", axis=alt.Axis(tickMinStep=1, tickCount=4, format="~s")),
            y2="to:Q",
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=[styles[code].label for code in codes], range=[colors[code] for code in codes]),
                legend=alt.Legend(orient="top", title=None, columns=2, columnPadding=8),
            ),
            description="text:N",
            tooltip=[
                alt.Tooltip("state:N", title="State"),
                alt.Tooltip("number:Q", title="Transactions", format=","),
                time_tooltip("at", "From"),
                time_tooltip("end", "To"),
            ],
        )
        .add_params(chosen)
    )
    return alt.layer(stacks, *deployment_marks(deployed, start, end)).properties(height=HEIGHT_PIXELS, padding=PADDING)


def deployment_marks(deployed: Sequence[Deployment], start: float, end: float) -> list[Any]:
    """Returns a line with a name for each deployment within a window (milliseconds), as layers of a chart over time."""
    groups: list[tuple[float, list[str]]] = []
    for each in deployed:
        moment = epoch_ms(each.at)
        if groups and moment - groups[-1][0] < (end - start) * DEPLOYMENT_GROUPING_SHARE:
            groups[-1][1].append(f"{each.service} {each.version}")
        elif start <= moment <= end:
            groups.append((moment, [f"{each.service} {each.version}"]))
    if not groups:
        return []
    values = [{"at": moment, "text": ", ".join(texts[:MAX_NAMED_DEPLOYMENTS])} for moment, texts in groups]
    ink, ground = theme_color("textColor", "#000000"), theme_color("backgroundColor", "#ffffff")
    base = alt.Chart(alt.InlineData(values=values)).encode(x="at:T", description="text:N", tooltip="text:N")
    name: dict[str, Any] = {"align": "left", "baseline": "top", "dx": 4, "fontSize": 11}
    # below the name, which would not be legible on bars; a screen reader would read it twice
    halo = base.mark_text(stroke=ground, strokeWidth=4, aria=False, **name)
    return [
        base.mark_rule(color=ink, strokeDash=[4, 3], strokeWidth=1.5),
        *(text.encode(y=alt.value(0), text="text:N") for text in (halo, base.mark_text(color=ink, **name))),
    ]


def time_tooltip(field: str, title: str) -> alt.Tooltip:
    """Returns a tooltip with a time in the zone in which the reader sees times."""
    unit = alt.TimeUnitParams(unit="yearmonthdatehoursminutesseconds", utc=data.is_utc())
    return alt.Tooltip(f"{field}:T", title=title, timeUnit=unit, format="%d %b, %H:%M:%S")


def time_scale(**options: Any) -> alt.Scale:
    """Returns a scale of times in the zone in which the reader sees them."""
    return alt.Scale(type="utc" if data.is_utc() else "time", **options)


def time_format(start: float, end: float) -> str:
    """Returns the format of times on an axis, for a window in milliseconds."""
    if end - start < MIN_MS_WITHOUT_SECONDS:
        return "%H:%M:%S"
    return "%H:%M" if end - start <= MAX_MS_WITHOUT_DATE else "%d %b"


def _stacked(shown: Sequence[BarPart], styles: Mapping[str, Style], period_ms: int) -> list[dict[str, object]]:
    """Returns the bars with their positions: Vega-Lite stacks no bars that have a width."""
    heights: Counter[datetime] = Counter()
    values: list[dict[str, object]] = []
    for code, style in styles.items():
        for bar in (each for each in shown if each.code == code):
            at = epoch_ms(bar.start)
            below, above = heights[bar.start], heights[bar.start] + bar.number
            heights[bar.start] = above
            position = {"at": at, "end": at + period_ms, "from": below, "to": above}
            text = f"{style.label}: {bar.number:,} at {bar.start:%Y-%m-%d %H:%M:%S} UTC"
            values.append({**position, "code": code, "state": style.label, "number": bar.number, "text": text})
    return values


def _domain(counts: schemas.Counts) -> tuple[float, float]:
    """Returns the window in whole periods, so that the chart stays the same from refresh to refresh."""
    period = counts.period * 1000
    return epoch_ms(counts.since) // period * period, (epoch_ms(counts.until) // period + 1) * period


def chosen_bar(
    event: Mapping[str, Sequence[Mapping[str, object]]], period: int
) -> tuple[str, datetime, datetime] | None:
    """Returns the state, start and end of the bar that was clicked; None: none was."""
    points = event.get(CHOSEN) or []
    if not points:
        return None
    start = datetime.fromtimestamp(float(str(points[0]["at"])) / 1000, UTC)
    return str(points[0]["code"]), start, start + timedelta(seconds=period)


def chart_of_shares(attributes: Sequence[schemas.CommonAttribute], colors: Mapping[str, str], text_color: str) -> Any:
    """Returns, for each attribute, the share of affected and of completed transactions that have it."""
    values = [
        {"rank": rank, "group": group, "share": having / of if of else 0, "text": text}
        for rank, each in enumerate(attributes)
        for group, having, of, text in (
            ("text", 0, 1, _comparison(each)),
            ("affected", each.affected, each.affected_of, _comparison(each)),
            ("completed", each.completed, each.completed_of, _comparison(each)),
        )
    ]
    groups = alt.Scale(domain=["text", "affected", "completed"])
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("rank:O", axis=None), yOffset=alt.YOffset("group:N", scale=groups)
    )
    bars = (
        base.transform_filter("datum.group != 'text'")
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title=None, axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "group:N",
                scale=alt.Scale(domain=["affected", "completed"], range=[colors["failed"], colors["completed"]]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[alt.Tooltip("text:N", title="Attribute"), alt.Tooltip("share:Q", title="Share", format=".1%")],
        )
    )
    texts = (
        base.transform_filter("datum.group == 'text'")
        .mark_text(
            align="left", baseline="middle", dx=2, fontSize=13, color=text_color, limit=alt.ExprRef("width"), clip=True
        )
        .encode(x=alt.value(0), text="text:N")
    )
    return (bars + texts).properties(height=alt.Step(22, **{"for": "offset"}))


def _comparison(attribute: schemas.CommonAttribute) -> str:
    also = ", ".join(map(_name, attribute.also))
    affected = f"{attribute.affected:,} of {attribute.affected_of:,} affected"
    completed = f"{attribute.completed:,} of {attribute.completed_of:,} completed"
    return f"{_name(attribute)}: {affected}, {completed}{f'; with {also}' if also else ''}"


def _name(attribute: schemas.SagaAttribute) -> str:
    where = line(attribute.service or attribute.step or "", 60)
    return f"{where} {line(attribute.key, 60)} = {line(attribute.value, 80)}".lstrip()


@dataclass(frozen=True, slots=True)
class Point:
    """A number at a time, in milliseconds since 1970, or of a category."""

    x: float | str
    y: float
    series: str


def chart_of_points(points: Sequence[Point], x_title: str, y_title: str, *, over_time: bool) -> Any:
    """Returns lines over time (UTC), or a bar for each category in the order given."""
    values = [{"x": each.x, "y": each.y, "series": each.series} for each in points]
    chart = alt.Chart(alt.InlineData(values=values), padding={**PADDING, "bottom": 8})
    y = alt.Y("y:Q", title=y_title, axis=alt.Axis(format="~s"))
    number = alt.Tooltip("y:Q", title=y_title, format=",")
    if not over_time:
        bars = chart.mark_bar().encode(
            y=alt.Y("x:N", title=None, sort=None, axis=alt.Axis(labelLimit=360, labelFontSize=13)),
            x=alt.X("y:Q", title=y_title, axis=alt.Axis(format="~s", tickCount=8)),
            tooltip=[alt.Tooltip("x:N", title=x_title), number],
        )
        return bars.properties(height=alt.Step(26))
    series = sorted({each.series for each in points})
    legend = alt.Legend(orient="top", title=None, columns=3, labelLimit=320) if len(series) > 1 else None
    times = [float(each.x) for each in points]
    axis = alt.Axis(format=time_format(min(times, default=0), max(times, default=0)), tickCount=10)
    return (
        chart.mark_line(point=True)
        .encode(
            x=alt.X("x:T", title=x_title, scale=alt.Scale(type="utc"), axis=axis),
            y=y,
            color=alt.Color("series:N", legend=legend, scale=alt.Scale(domain=series)),
            tooltip=["series:N", alt.Tooltip("x:T", title=x_title, format="%d %b %Y, %H:%M:%S"), number],
        )
        .properties(height=CHART_PIXELS)
    )


def theme_colors(styles: Mapping[str, Style]) -> dict[str, str]:
    """Returns the colour of each state in the reader's theme."""
    of_tones = {tone: theme_color(f"{color}Color", "#808080") for tone, color in TONE_COLORS.items()}
    return shades(styles, of_tones, theme_color("textColor", "#000000"), theme_color("backgroundColor", "#ffffff"))


def theme_color(option: str, fallback: str) -> str:
    """Returns a colour of the reader's theme."""
    theme = "dark" if st.context.theme.type == "dark" else "light"
    value = str(st.get_option(f"theme.{theme}.{option}"))
    return value if re.fullmatch("#[0-9a-fA-F]{6}", value) else fallback


SECONDS_LABEL = (
    "datum.value == 0 ? '0' : datum.value < 1 ? format(datum.value * 1000, '~g') + ' ms' : "
    "datum.value < 60 ? format(datum.value, '~g') + ' s' : "
    "datum.value < 3600 ? format(datum.value / 60, '~g') + ' min' : "
    "datum.value < 86400 ? format(datum.value / 3600, '~g') + ' h' : format(datum.value / 86400, '~g') + ' days'"
)
"""Vega's expression for the label of an axis of seconds."""


MAX_NODES_IN_A_ROW = 7
"""Boxes of a graph that is drawn from left to right; a larger one is drawn from top to bottom."""


def chart_of_versions(known: schemas.Services) -> Any:
    """Returns a row for each service with a bar for each of its versions; None if no service sends its version."""
    values: list[dict[str, Any]] = [
        {
            "service": line(service.service, 60),
            "text": line(each.version, 40),
            "at": epoch_ms(each.first_seen),
            "end": epoch_ms(each.last_seen),
            "shade": index % 2,
        }
        for service in known.items
        for index, each in enumerate(reversed(service.versions))
    ]
    if not values:
        return None
    start, end = min(each["at"] for each in values), max(each["end"] for each in values)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("at:T", title=None, scale=time_scale(), axis=alt.Axis(format=time_format(start, end), tickCount=10)),
        y=alt.Y("service:N", title=None, axis=alt.Axis(labelLimit=200, labelFontSize=13)),
        tooltip=[
            alt.Tooltip("service:N", title="Service"),
            alt.Tooltip("text:N", title="Version"),
            time_tooltip("at", "First seen"),
            time_tooltip("end", "Last seen"),
        ],
    )
    blue, background = theme_color("blueColor", "#2060b0"), theme_color("backgroundColor", "#ffffff")
    shades_of_blue = alt.Scale(domain=[0, 1], range=[mixed(background, blue, 0.25), mixed(background, blue, 0.55)])
    bars = base.mark_bar(cornerRadius=3, minBandSize=4).encode(
        x2="end:T", color=alt.Color("shade:N", scale=shades_of_blue, legend=None)
    )
    names = base.mark_text(align="left", dx=5, fontSize=12, color=theme_color("textColor", "#000000")).encode(
        text="text:N"
    )
    return (bars + names).properties(height=alt.Step(30))


SOLID_SHARE = 0.5
"""Share of failures from which the colour of an alarm is used undiluted."""


def failure_color(share: float) -> str:
    """Returns the colour of a share of failures: neutral for none, then towards that of an alarm."""
    alarm, background = theme_color("redColor", "#b00020"), theme_color("backgroundColor", "#ffffff")
    if not share:
        return theme_color("secondaryBackgroundColor", "#eeeeee")
    return alarm if share >= SOLID_SHARE else mixed(background, alarm, 0.2 + 0.6 * share)


def contrast_color(share: float) -> str:
    """Returns the colour of text on `failure_color`."""
    return theme_color("backgroundColor" if share >= SOLID_SHARE else "textColor", "#000000")


def graph(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    """Returns a graph in Graphviz's language, from left to right if it is small; every text in it is quoted."""
    text, gray, alarm = (
        theme_color(f"{name}Color", color)
        for name, color in (("text", "#000000"), ("gray", "#808080"), ("red", "#b00020"))
    )
    font = f'fontname="sans-serif", fontsize=12, fontcolor="{text}"'
    written = [
        "digraph {",
        f"rankdir={'LR' if len(nodes) <= MAX_NODES_IN_A_ROW else 'TB'};",
        'bgcolor="transparent"; nodesep=0.25; ranksep=0.5;',
        f'node [shape=box, style="rounded,filled", margin="0.16,0.09", color="{gray}", {font}];',
        f'edge [color="{gray}", arrowsize=0.7, {font}];',
    ]
    numbers = {node.key: f"n{index}" for index, node in enumerate(nodes)}
    for node in nodes:
        colors = f'fillcolor="{failure_color(node.share)}", fontcolor="{contrast_color(node.share)}"'
        style = ', style="rounded,filled,dashed"' if node.is_dashed else ""
        label = "\\n".join(map(_quoted, node.texts))
        written.append(
            f'{numbers[node.key]} [label="{label}", URL="{_quoted(node.href)}", target="_self", {colors}{style}];'
        )
    max_weight = max((edge.weight for edge in edges), default=1.0) or 1.0
    for edge in edges:
        if edge.before in numbers and edge.after in numbers:
            color = f', color="{mixed(gray, alarm, min(0.3 + edge.share, 1.0))}"' if edge.share else ""
            width = f"penwidth={1 + 4 * edge.weight / max_weight:.1f}"
            ends = f"{numbers[edge.before]} -> {numbers[edge.after]}"
            # The second line of a label keeps the first one off a wide arrow.
            written.append(f'{ends} [label=" {_quoted(edge.text)} \\n ", {width}{color}];')
    return "\n".join([*written, "}"])


def _quoted(text: str) -> str:
    """Returns a text within quotes in Graphviz's language, where entities and escapes have a meaning."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def choose_started(
    counts: schemas.Counts, filters: Filters, list_name: str, deployed: Sequence[Deployment]
) -> str | None:
    """Renders when transactions started, by their present status; returns the link of a bar: the list of these."""

    def href(code: str, start: datetime, end: datetime) -> str:
        return filters.with_changes(status=code, since=iso(start), until=iso(end)).href()

    return choose_bar("Started, by status", counts, "started", BY_STATUS, href, list_name, deployed)


def choose_bar(
    name: str,
    counts: schemas.Counts,
    kind: str,
    styles: Mapping[str, Style],
    href: Callable[[str, datetime, datetime], str] | None = None,
    list_name: str = "",
    deployed: Sequence[Deployment] = (),
) -> str | None:
    """Renders ``started`` or ``attention`` over time; returns the link of a bar that the reader chose since.

    `href` returns it for a state, a start and an end. A chart with another `list_name` has no bar chosen.
    """
    key = f"chart-{crc32(f'{name} {list_name}'.encode()):x}"
    shown = bars(counts, kind)
    styles = {code: style for code, style in styles.items() if any(bar.code == code for bar in shown)}
    chart = chart_over_time(shown, styles, theme_colors(styles), counts, deployed)
    render(f"{key}-title", h("h2", name))
    if href is None:
        st.altair_chart(chart, height=HEIGHT_PIXELS, alt=name)
        return None

    def on_select() -> None:
        if bar := chosen_bar(st.session_state[key].selection, counts.period):
            lists.note_choice(key, href(*bar))

    st.altair_chart(chart, height=HEIGHT_PIXELS, key=key, on_select=on_select, selection_mode=CHOSEN, alt=name)
    return lists.chosen(key)
