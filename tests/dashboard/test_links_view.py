import pytest

from sagascope_dashboard.urls import Link, links, templates
from support.wires import TRACE, saga, steps, tried


def urls(*written: str, **changes: object) -> list[str]:
    return [each.url for each in links(templates(written), saga(**changes))]


def test_fields_are_filled_in_and_quoted() -> None:
    assert urls("X=https://x.example/{name}/{id}?o={key.order}", id="a/b&c=<d>", keys={"order": "ord 7#"}) == [
        "https://x.example/payment/a%2Fb%26c%3D%3Cd%3E?o=ord%207%23"
    ]


def test_the_trace_is_that_of_the_attempt_at_which_it_stands() -> None:
    tries = steps(
        tried("wallet.debit", 0, 1), tried("ledger.record", 1, 2, "error"), tried("ledger.record", 3, 4, number=2)
    )
    assert urls("J=https://j.example/{trace_id}/{span_id}", steps=tries, step="ledger.record") == [
        f"https://j.example/{TRACE}/ledger.record-2"
    ]


def test_a_tool_for_which_something_is_missing_is_left_out() -> None:
    known = templates(["A=https://a.example/{key.order}", "B=https://b.example/{started_ms}"])
    assert links(known, saga(keys={})) == (Link("B", "https://b.example/1795356130000"),)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("Jaeger", "is no link"),
        ("=https://x.example", "is no link"),
        ("X=javascript:alert(1)", "must begin with http"),
        ("X=//x.example/{id}", "must begin with http"),
        ("X=https://{id}.example/", "a host without fields"),
        ("X=https://x.example/{secret}", "'secret'"),
        ("X=https://x.example/{}", "not known"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        templates([written])
