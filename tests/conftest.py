"""For all tests."""

import gc
from collections import Counter
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from httpx._transports import default as httpx_transport
from hypothesis import settings
from xdist.scheduler import LoadGroupScheduling

TESTS: Final = Path(__file__).parent

WAITING: Final = ("e2e", "dashboard", "node", "sample_services", "bridges", "clients", "recordings", "instrumentation")
"""Folders whose tests wait for other processes most of the time."""

settings.register_profile("here", deadline=None)  # a machine that is busy with other things is no reason to fail
settings.load_profile("here")

# a client of its own for each request, as in most tests, would read all certificates each time, in 14 ms
httpx_transport.create_ssl_context = cache(httpx_transport.create_ssl_context)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test printed or logged fit to be sent from a worker: some of it is no Unicode, on purpose."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


class ModuleScheduling(LoadGroupScheduling):
    """Runs the tests of a module in one worker, so that they share its fixtures; those of an `xdist_group` as well."""

    def _split_scope(self, nodeid: str) -> str:
        group = super()._split_scope(nodeid)
        return group if group != nodeid else nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keeps the garbage collector from what is imported and collected, of which nothing is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModuleScheduling | None:
    """Returns the scheduler of `make test`."""
    return ModuleScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)  # before xdist appends the groups to the ids
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Starts what takes longest first, so that no worker is alone at the end."""
    if hasattr(config, "workerinput"):
        sizes = Counter(item.path for item in items)
        items.sort(key=lambda item: (_rank(item), -sizes[item.path]))


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    if folder in WAITING:
        return WAITING.index(folder)
    return len(WAITING) + (item.get_closest_marker("slow") is None)
