"""The memory that this process may use: the limit of its control group, as containers and services of systemd have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")

UNLIMITED_BYTES: Final = 2**60
"""Version 1 of control groups writes a number of this size where there is no limit."""


def limit_bytes(groups: Path = CONTROL_GROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Returns the smallest memory limit of this process's control groups, of version 1 or 2; None: there is none."""
    found = (int(text) for path in _limit_files(groups, membership) if (text := _text(path).strip()).isdecimal())
    return min((each for each in found if each < UNLIMITED_BYTES), default=None)


def _limit_files(groups: Path, membership: Path) -> Iterator[Path]:
    """Yields the files of each group and its parents; a container sees its own group as the root."""
    for entry in _text(membership).splitlines():
        _, controllers, path = entry.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        parts = Path(path.lstrip("/")).parts
        yield from (root.joinpath(*parts[:number], name) for number in range(len(parts) + 1))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
