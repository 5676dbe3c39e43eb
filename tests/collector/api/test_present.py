"""From the domain to the wire."""

from decimal import Decimal

from hypothesis import given, strategies as st

from sagascope_collector.api import present
from sagascope_collector.client import schemas
from sagascope_collector.durations import to_datetime, to_nanoseconds

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(VALUES)
def test_any_value_is_natural_json(value: object) -> None:
    text = schemas.SpanEvent(name="x", at=to_datetime(0), attributes={"v": present.json_value(value)}).model_dump_json()
    assert "v" in schemas.SpanEvent.model_validate_json(text).attributes


def test_a_bottomless_value_is_cut() -> None:
    value: object = "bottom"
    for _ in range(10_000):
        value = [value]
    natural = present.json_value(value)
    for _ in range(present.MAX_JSON_DEPTH):
        natural = natural[0]
    assert natural == "…"


@given(st.integers(0, 2**64 - 1))
def test_moments_are_cut_to_the_microsecond(nanoseconds: int) -> None:
    moment = to_datetime(nanoseconds)
    assert to_nanoseconds(moment) == to_nanoseconds(moment.replace(tzinfo=None)) == nanoseconds // 1_000 * 1_000
    assert moment.microsecond == nanoseconds // 1_000 % 1_000_000
    assert schemas.rfc3339(moment).endswith("Z")


def test_amounts_have_no_exponent() -> None:
    told = [present.decimal(Decimal(text)) for text in ("50.00", "5E+3", "1E-9", "-0.10")]
    assert told == ["50.00", "5000", "0.000000001", "-0.10"]


def test_severities_have_their_short_names() -> None:
    assert [present.severity(number) for number in (0, 1, 9, 18, 24, 25, -1)] == [
        None, "TRACE", "INFO", "ERROR2", "FATAL4", None, None,
    ]  # fmt: skip
