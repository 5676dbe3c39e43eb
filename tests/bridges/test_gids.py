"""How global ids of prepared transactions are read."""

from base64 import b64encode

import pytest

from sagascope_collector.bridges.postgres import Gids
from sagascope_collector.bridges.postgres.gids import Gid
from sagascope_collector.bridges.postgres.look import whole_id


def xa(shared: bytes, branch: bytes) -> str:
    return f"4660_{b64encode(shared).decode()}_{b64encode(branch).decode()}"


@pytest.mark.parametrize(
    ("text", "pattern", "read"),
    [
        ("anything", None, Gid("anything")),
        (xa(b"order-17", b"1"), None, Gid("order-17")),
        (xa(b"\x00\xff\x17", b""), None, Gid("00ff17")),
        ("1_a_b", None, Gid("1_a_b")),
        (
            "transfer:8492:wallet",
            r"^(?P<name>\w+):(?P<id>\w+):(?P<participant>\w+)$",
            Gid("8492", "transfer", "", "wallet"),
        ),
        ("other", r"^(?P<name>\w+):(?P<id>\w+)$", Gid("other")),
        ("8492/2", r"^(?P<id>\d+)/(?P<run>\d+)$", Gid("8492", run="2")),
        ("x:8492", r"^(?P<name>y)?x:(?P<id>\d+)(?P<colour>)$", Gid("8492")),
    ],
)
def test_gids(text: str, pattern: str | None, read: Gid) -> None:
    assert Gids(pattern).read(text) == read


@pytest.mark.parametrize(
    ("xid", "near", "whole"),
    [
        (726, 726, 726),
        (727, 726, 727),
        (5, (3 << 32) + 9, (3 << 32) + 5),
        (2**32 - 2, (3 << 32) + 9, (3 << 32) - 2),
        (3, (3 << 32) - 2, (3 << 32) + 3),
    ],
)
def test_ids_have_64_bits(xid: int, near: int, whole: int) -> None:
    assert whole_id(xid, near) == whole
