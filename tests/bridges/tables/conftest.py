from collections.abc import Iterator

import pytest

from support.postgres import Server, running_postgres


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """A PostgreSQL server with the database ``shop``."""
    with running_postgres() as server:
        server.create("shop")
        yield server
