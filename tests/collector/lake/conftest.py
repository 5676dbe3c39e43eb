"""A PostgreSQL server, and a new lake in it for each test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.lake import LakePlace
from support.postgres import Server, running_postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def lake(server: Server, tmp_path: Path) -> LakePlace:
    name = f"lake{next(_numbers)}"
    server.create(name)
    return LakePlace(server, name, str(tmp_path / "data"))
