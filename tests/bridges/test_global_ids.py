"""Parses global ids of prepared transactions."""

from base64 import b64encode

import pytest

from sagascope_collector.bridges.postgres import GlobalIdFormat
from sagascope_collector.bridges.postgres.source import full_xid
from sagascope_collector.bridges.postgres.telemetry import GlobalId


def xa(shared: bytes, branch: bytes) -> str:
    return f"4660_{b64encode(shared).decode()}_{b64encode(branch).decode()}"


@pytest.mark.parametrize(
    ("text", "pattern", "parsed"),
    [
        ("anything", None, GlobalId("anything")),
        (xa(b"order-17", b"1"), None, GlobalId("order-17")),
        (xa(b"\x00\xff\x17", b""), None, GlobalId("00ff17")),
        ("1_a_b", None, GlobalId("1_a_b")),
        (
            "transfer:8492:wallet",
            r"^(?P<name>\w+):(?P<id>\w+):(?P<participant>\w+)$",
            GlobalId("8492", "transfer", "", "wallet"),
        ),
        ("other", r"^(?P<name>\w+):(?P<id>\w+)$", GlobalId("other")),
        ("8492/2", r"^(?P<id>\d+)/(?P<run>\d+)$", GlobalId("8492", run="2")),
        ("x:8492", r"^(?P<name>y)?x:(?P<id>\d+)(?P<colour>)$", GlobalId("8492")),
    ],
)
def test_a_global_id_is_parsed_by_pattern_or_as_an_xa_id(text: str, pattern: str | None, parsed: GlobalId) -> None:
    assert GlobalIdFormat(pattern).parse(text) == parsed


@pytest.mark.parametrize(
    ("xid", "near", "full"),
    [
        (726, 726, 726),
        (727, 726, 727),
        (5, (3 << 32) + 9, (3 << 32) + 5),
        (2**32 - 2, (3 << 32) + 9, (3 << 32) - 2),
        (3, (3 << 32) - 2, (3 << 32) + 3),
    ],
)
def test_a_transaction_id_is_extended_to_64_bits(xid: int, near: int, full: int) -> None:
    assert full_xid(xid, near) == full
