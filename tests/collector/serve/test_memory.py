"""The collector's limits follow the memory limit of its control group."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sagascope_collector import settings
from sagascope_collector.errors import BadValue
from sagascope_collector.settings import MEBIBYTE, MIN_MEMORY_BYTES, Settings

GIBIBYTE = 1024 * MEBIBYTE


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "536870912\n"}, 536_870_912),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/a/b.service\n", {"a/memory.max": "100\n", "a/b.service/memory.max": "max\n"}, 100),
        ("0::/a/b.service\n", {"a/memory.max": "100\n", "a/b.service/memory.max": "70\n"}, 70),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "300\n"}, 300),
        ("4:memory:/a\n0::/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("3:cpu,cpuacct:/a\n", {"a/memory.max": "100\n"}, None),
        ("", {}, None),
    ],
)
def test_the_smallest_limit_of_all_groups_counts(
    tmp_path: Path, membership: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    assert settings.memory_limit_bytes(tmp_path / "groups", tmp_path / "membership") == limit


def test_no_control_groups_are_no_limit(tmp_path: Path) -> None:
    assert settings.memory_limit_bytes(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize("limit", [100 * MEBIBYTE, 512 * MEBIBYTE, 900 * MEBIBYTE])
def test_the_database_and_the_queue_get_a_share(limit: int) -> None:
    limited = Settings().within_memory(limit)
    assert limited.memory_bytes == max(MIN_MEMORY_BYTES, (limit - 250 * MEBIBYTE) // 2)
    assert limited.queue_bytes == max(MEBIBYTE, (limit - 250 * MEBIBYTE) // 8)


def test_a_large_limit_changes_nothing() -> None:
    assert Settings().within_memory(8 * GIBIBYTE) == Settings()


@pytest.mark.parametrize(
    "values",
    [
        {"memory_bytes": 10**30},
        {"queue_bytes": 10**30},
        {"step_timeout": ["payment/book=1e300"]},
        {"step_timeout": ["payment/book=nan"]},
    ],
)
def test_values_that_nothing_can_be_computed_with_are_refused(values: dict[str, object]) -> None:
    with pytest.raises((ValidationError, BadValue)):
        Settings.model_validate(values)
