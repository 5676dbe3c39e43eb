"""Charts as specifications: what is drawn, from what the API answered."""

from datetime import timedelta
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.components.charts import (
    bars,
    chart_of_shares,
    chart_over_time,
    chosen_bar,
    deployment_marks,
    graph,
)
from sagascope_dashboard.formatting import ATTENTION, STATUS, Style, shades
from sagascope_dashboard.urls import fitting_window
from sagascope_dashboard.viewmodels.flows import Edge, Node
from sagascope_dashboard.viewmodels.services import Deployment
from support.wires import at

COLORS = dict.fromkeys([*STATUS, *ATTENTION], "#123456")
COUNTS = schemas.Counts.model_validate(
    {
        "total": 6,
        "status": {"completed": 5, "failed": 1},
        "attention": {"hung": 1},
        "amount_at_risk": [],
        "since": at(0),
        "until": at(65),
        "period": 10,
        "series": [
            {"at": at(0), "started": {"failed": 1, "completed": 2}, "attention": {}},
            {"at": at(20), "started": {"completed": 3}, "attention": {"hung": 1}},
        ],
    }
)


def drawn(kind: str, styles: dict[str, Style]) -> dict[str, Any]:
    chart: dict[str, Any] = chart_over_time(bars(COUNTS, kind), styles, COLORS, COUNTS).to_dict()
    return chart


def values_of(chart: dict[str, Any]) -> list[dict[str, Any]]:
    (values,) = chart["datasets"].values()
    return list(values)


def test_a_bar_has_its_period_state_and_number() -> None:
    values = values_of(drawn("started", STATUS))
    assert {(each["state"], each["number"], each["from"], each["to"]) for each in values} == {
        ("Completed", 2, 0, 2), ("Failed", 1, 2, 3), ("Completed", 3, 0, 3),
    }  # fmt: skip
    assert {each["end"] - each["at"] for each in values} == {10_000}
    assert [each["state"] for each in values_of(drawn("attention", ATTENTION))] == ["Hung"]


def test_a_chart_has_axes_a_legend_and_tooltips_and_covers_the_window() -> None:
    encoding = drawn("started", STATUS)["layer"][0]["encoding"]
    start, end = encoding["x"]["scale"]["domain"]
    assert start <= COUNTS.since.timestamp() * 1000 < COUNTS.until.timestamp() * 1000 <= end
    assert encoding["y"]["title"] == "Transactions"
    assert encoding["color"]["legend"]["orient"] == "top"
    assert encoding["color"]["scale"]["domain"] == ["Completed", "Failed"]
    assert len(encoding["tooltip"]) == 4


def test_a_chart_stays_the_same_within_a_period() -> None:
    later = COUNTS.model_copy(update={"since": at(1), "until": at(66)})
    assert (
        chart_over_time([], STATUS, COLORS, COUNTS).to_dict()["layer"][0]["encoding"]
        == (chart_over_time([], STATUS, COLORS, later).to_dict()["layer"][0]["encoding"])
    )


def test_deployments_within_the_window_are_marked_together_where_they_are_close() -> None:
    deployed = [Deployment(at(each), "ledger", f"1.{each}") for each in (-100, 20, 20.5, 21, 21.2, 50)]
    marks = [each.to_dict() for each in deployment_marks(deployed, at(0).timestamp() * 1000, at(65).timestamp() * 1000)]
    (values,) = marks[0]["datasets"].values()
    assert [each["text"] for each in values] == ["ledger 1.20, ledger 1.20.5, ledger 1.21", "ledger 1.50"]
    assert deployment_marks(deployed[:1], at(0).timestamp() * 1000, at(65).timestamp() * 1000) == []


def test_every_text_of_a_graph_is_quoted() -> None:
    hostile = 'a"];x [label=<b>];\\N&lt;'
    drawn = graph(
        [Node(hostile, (hostile, "1"), 0.6, False, '/transactions?name="'), Node("b", ("b",), 0.0, True, "/")],
        [Edge(hostile, "b", hostile, 2.0, 0.0), Edge("b", "elsewhere", "", 1.0, 0.0)],
    )
    quoted = 'a\\"];x [label=<b>];\\\\N&amp;lt;'
    assert f'n0 [label="{quoted}\\n1", URL="/transactions?name=\\""' in drawn
    assert f'n0 -> n1 [label=" {quoted} \\n "' in drawn
    assert drawn.count("->") == 1


def test_a_click_names_a_state_and_a_period() -> None:
    click = {"chosen": [{"code": "hung", "at": at(20).timestamp() * 1000}]}
    assert chosen_bar(click, 10) == ("hung", at(20), at(30))
    assert chosen_bar({"chosen": []}, 10) is None
    assert chosen_bar({}, 10) is None


def test_shares_are_of_those_that_were_seen_there_and_text_stays_text() -> None:
    version = {"service": "ledger", "step": None, "key": "service.version", "value": "2.1\x1b[31m"}
    host = {**version, "key": "host.name", "value": "w-7"}
    counts = {"affected": 98, "affected_of": 100, "completed": 6, "completed_of": 200, "lift": 32.67, "also": [host]}
    chart = chart_of_shares([schemas.CommonAttribute.model_validate(version | counts)], COLORS, "#000000").to_dict()
    found = {each["group"]: (each["share"], each["text"]) for each in values_of(chart)}
    assert (found["affected"][0], found["completed"][0]) == (0.98, 0.03)
    version_text = r"ledger service.version = 2.1\x1b[31m"
    assert found["text"][1] == f"{version_text}: 98 of 100 affected, 6 of 200 completed; with ledger host.name = w-7"


def test_states_of_one_tone_have_different_shades() -> None:
    colors = {"alarm": "#bf4507", "wait": "#bd8100", "work": "#226fb5", "good": "#11745b", "compensate": "#8a4a9d"}
    for styles in (ATTENTION, STATUS):
        found = shades(styles, colors, "#1c2430", "#fbfaf7")  # type: ignore[arg-type]
        assert len(set(found.values())) == len(styles)
    assert shades(STATUS, colors, "#1c2430", "#fbfaf7")["failed"] == "#bf4507"  # type: ignore[arg-type]


def test_a_window_reaches_back_far_enough() -> None:
    now = at(0)
    ages = {
        timedelta(minutes=2): "15m",
        timedelta(hours=2): "24h",
        timedelta(days=9): "10d",
        timedelta(days=900): "400d",
    }
    assert {age: fitting_window(now - age, now) for age in ages} == ages
