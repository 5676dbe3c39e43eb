"""Fault injection: which payment fails, at which step, and how.

Only the demo and the tests plant faults, through an endpoint that accepts requests from this machine alone, or through
the environment of a process. The services' own code does not depend on it: each triggers planted faults once, where a
real fault would occur.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sagascope_samples.calls import Refused, Unavailable

SLOW_SECONDS = 2.0


class FaultKind(StrEnum):
    """How a step fails."""

    STALL = "stall"
    """It neither ends nor fails."""
    FAIL = "fail"
    """Every attempt fails."""
    REFUSE = "refuse"
    """It is refused."""
    SLOW = "slow"
    """It succeeds slowly."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault and its error message."""

    kind: FaultKind
    message: str = ""

    async def trigger(self) -> None:
        """Fails as its kind says.

        Raises:
            Unavailable: `FaultKind.FAIL`.
            Refused: `FaultKind.REFUSE`.
        """
        match self.kind:
            case FaultKind.STALL:
                await asyncio.Event().wait()
            case FaultKind.FAIL:
                raise Unavailable(self.message)
            case FaultKind.REFUSE:
                raise Refused(self.message)
            case FaultKind.SLOW:
                await asyncio.sleep(SLOW_SECONDS)


class FaultInjector:
    """The faults that are planted in one process; a restart removes them."""

    def __init__(self) -> None:
        self._planted: dict[tuple[str, str], Fault] = {}

    def route(self) -> Route:
        """Returns the endpoint: ``PUT`` plants ``{"kind", "message"}``, ``DELETE`` removes it."""
        return Route("/faults/{payment}/{step}", self._change, methods=["PUT", "DELETE"])

    async def trigger(self, payment: str, step: str) -> None:
        """Triggers the fault that is planted in this step of this payment, if any."""
        if fault := self._planted.get((payment, step)):
            await fault.trigger()

    async def _change(self, request: Request) -> Response:
        if request.client is None or not ip_address(request.client.host).is_loopback:
            return Response("Faults can be planted from this machine only.", status_code=403)
        target = request.path_params["payment"], request.path_params["step"]
        self._planted.pop(target, None)
        if request.method == "PUT":
            self._planted[target] = _read(await request.json())
        return Response(status_code=204)


def _read(body: Any) -> Fault:
    try:
        return Fault(FaultKind(body["kind"]), str(body.get("message", "")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"A fault needs one of the kinds {', '.join(FaultKind)}, and a message.") from error


Kind = TypeVar("Kind", bound=StrEnum)

FAULTS_VARIABLE = "SAMPLE_FAULTS"
"""``TARGET=KIND`` of the faults of a process without an endpoint, separated by commas."""


def faults_from_environment(kind: type[Kind], environment: Mapping[str, str] = os.environ) -> dict[str, Kind]:
    """Returns the faults of this process, by target.

    Raises:
        ValueError: A fault is unknown.
    """
    pairs = (pair.partition("=") for pair in environment.get(FAULTS_VARIABLE, "").split(",") if pair)
    return {target: kind(fault) for target, _, fault in pairs}


def faults_to_environment(faults: Mapping[str, StrEnum]) -> dict[str, str]:
    """Returns the variable that `faults_from_environment` reads."""
    return {FAULTS_VARIABLE: ",".join(f"{target}={fault}" for target, fault in faults.items())}
