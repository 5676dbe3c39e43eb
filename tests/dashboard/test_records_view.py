from sagascope_dashboard.viewmodels.records import (
    LEVELS,
    log_rows,
    log_view,
    own_logs,
    sequence,
    span_rows,
    span_tree,
    span_view,
)
from support.wires import TRACE, at, log, saga, span, tried

SPANS = [
    span("root", 0, 9, name="payment"),
    span("b", 3, 4, parent_id="root", name="wallet.debit", service="wallet"),
    span("a", 1, 2, parent_id="root", name="fraud.check", service="fraud", attributes={"rule": {"name": "Velocity"}}),
    span("c", 3.1, 3.2, parent_id="b", name="INSERT", service="wallet"),
    span("orphan", 5, 6, parent_id="never came", name="mail"),
]


def names(text: str = "") -> list[tuple[int, str]]:
    return [(each.depth, each.span.name) for each in span_tree(SPANS, text)]


def test_a_span_comes_before_those_below_it_and_siblings_by_their_start() -> None:
    assert names() == [(0, "payment"), (1, "fraud.check"), (1, "wallet.debit"), (2, "INSERT"), (0, "mail")]
    assert [row["Span"] for row in span_rows(span_tree(SPANS))][2:4] == ["\u2003└ wallet.debit", "\u2003\u2003└ INSERT"]


def test_a_text_leaves_what_contains_it_and_what_is_above() -> None:
    assert names("insert") == [(0, "payment"), (1, "wallet.debit"), (2, "INSERT")]
    assert names("velocity") == [(0, "payment"), (1, "fraud.check")]
    assert names("mail") == [(0, "mail")]
    assert names("nothing") == []


def test_spans_that_are_each_others_parents_are_shown_once() -> None:
    circle = [span("x", 0, 1, parent_id="y"), span("y", 0, 1, parent_id="x"), span("z", 0, 1, parent_id="z")]
    assert sorted(each.span.span_id for each in span_tree(circle)) == ["x", "y", "z"]


def test_two_processes_may_share_a_span_id() -> None:
    both = [span("x", 0, 2), span("x", 0.5, 1, service="ledger", kind="client")]
    assert len({each.key for each in span_tree(both)}) == 2


def test_only_lines_of_the_services_themselves_are_logs() -> None:
    lines = [log(0, "mine"), log(1, None, event_name="sagascope.span.start"), log(2, None, event_name="partial.event")]
    assert [each.body for each in own_logs(lines)] == ["mine"]


def test_log_lines_are_filtered_by_level_and_text() -> None:
    lines = [log(0, "a", severity="INFO"), log(1, "b", severity="WARN2"), log(2, {"c": "Deep"}, severity="ERROR")]
    assert [each.severity for each in own_logs(lines, LEVELS["Warnings and errors"])] == ["WARN2", "ERROR"]
    assert [each.severity for each in own_logs(lines, LEVELS["Errors"])] == ["ERROR"]
    assert [each.severity for each in own_logs(lines, text="deep")] == ["ERROR"]
    assert [each.severity for each in own_logs(lines, text="WALLET")] == ["INFO", "WARN2", "ERROR"]


def test_tables_hold_text_only() -> None:
    (row,) = span_rows(span_tree([span("a", 0, None, name="\x1b")]))
    assert (row["Took"], row["Span"]) == ("open", "\\x1b")
    rows = log_rows([log(0, {"a": 1}), log(0, None, event_name="started")])
    assert [row["Text"] for row in rows] == ['{"a": 1}', "started"]


def test_a_record_in_full_has_every_attribute_and_event() -> None:
    event = {"name": "exception", "at": at(0.5), "attributes": {"exception.stacktrace": "line 1\n  line 2"}}
    shown = span_view(span("a", 0, 1, attributes={"b": ["\x1b", {"deep": None}], "a": 1}, events=[event]))
    assert shown.attributes == (("a", "1"), ("b", '["\\u001b", {"deep": null}]'))
    assert shown.events == ((at(0.5), "exception", (("exception.stacktrace", "line 1\n  line 2"),)),)
    assert ("Took", "1 s") in shown.facts
    assert log_view(log(0, "text\nsecond", span_id="s")).title == "text\nsecond"


def calls(*spans: object, **changes: object) -> list[tuple[str, str, str, str, int, bool]]:
    whole = saga(tried("mail.send", 6, 7), spans=list(spans), **changes)
    shown = sequence(whole, {each.span_id for each in whole.spans})
    return [(each.source, each.target, each.label, each.state, each.count, each.is_message) for each in shown.calls]


def test_a_sequence_has_calls_between_services_and_steps_of_ones_own() -> None:
    assert calls(
        span("root", 0, 9, name="payment"),
        span("c", 1, 2, parent_id="root", name="POST /debit", kind="client"),
        span("s", 1.1, 1.9, parent_id="c", name="wallet.debit", service="wallet", status="error"),
        span("db", 1.2, 1.3, parent_id="s", name="INSERT", service="wallet"),
        span("mail.send-1", 6, 7, parent_id="root", name="mail.send"),
    ) == [
        ("orchestrator", "wallet", "wallet.debit", "error", 1, False),
        ("orchestrator", "orchestrator", "mail.send", "ok", 1, False),
    ]


def test_a_message_is_known_by_its_kind_or_a_link() -> None:
    link = {"trace_id": TRACE, "span_id": "p", "attributes": {}}
    assert calls(
        span("p", 0, 0.1, name="publish", kind="producer"),
        span("k", 1, 2, parent_id="p", name="process", kind="consumer", service="ledger"),
        span("m", 3, None, name="batch", kind="consumer", service="mail", links=[link]),
    ) == [("orchestrator", "ledger", "process", "ok", 1, True), ("orchestrator", "mail", "batch", "in_flight", 1, True)]


def test_equal_calls_in_a_row_are_one_arrow_with_their_number() -> None:
    tries = [span(f"s{n}", n, n + 0.5, parent_id="root", name="x", service="w", status="error") for n in range(50)]
    last = span("s", 60, 61, parent_id="root", name="x", service="w")
    assert [(state, count) for *_, state, count, _ in calls(span("root", 0, 99), *tries, last)] == [
        ("error", 50),
        ("ok", 1),
    ]


def test_only_what_the_filter_leaves_is_called() -> None:
    whole = saga(spans=[span("root", 0, 9), *(span(n, 1, 2, parent_id="root", service=n) for n in ("a", "b"))])
    assert [call.target for call in sequence(whole, {"a"}).calls] == ["a"]
    assert sequence(whole, {"a"}).services == ("orchestrator", "a")
