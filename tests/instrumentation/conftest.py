"""Each test has its own receiver; failures inside Sagascope are raised instead of logged."""

from collections.abc import Iterator

import pytest

import sagascope
from sagascope import _errors
from support.receiver import Receiver, running_receiver


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_errors, "strict", True)
    yield
    sagascope.shutdown()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def configured(receiver: Receiver) -> Iterator[Receiver]:
    """A service that was configured with `configure`, and the receiver of its telemetry."""
    sagascope.configure(service_name="orchestrator", endpoint=receiver.endpoint, announce_after=0.05)
    try:
        yield receiver
    finally:
        sagascope.shutdown()
