"""For all tests."""

from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)  # a machine that is busy with other things is no reason to fail
settings.load_profile("here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test printed or logged fit to be sent from a worker: some of it is no Unicode, on purpose."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
