"""A switch for faults: which payment goes wrong, at which step, and how.

Only the demo and the tests turn it, through an admin call that answers this machine alone. What a service does is
written elsewhere, as if this were not here: each asks `Faults.strike` once, where real trouble would strike.
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sagascope_samples.chassis import Refused, Unavailable


class Kind(StrEnum):
    """How a step goes wrong."""

    STALL = "stall"
    """It neither ends nor fails."""
    FAIL = "fail"
    """It fails, each time that it is tried."""
    REFUSE = "refuse"
    """It is refused."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How, and the words of the error."""

    kind: Kind
    message: str = ""

    async def strike(self) -> None:
        """Go wrong.

        Raises:
            Unavailable: `Kind.FAIL`.
            Refused: `Kind.REFUSE`.
        """
        match self.kind:
            case Kind.STALL:
                await asyncio.Event().wait()
            case Kind.FAIL:
                raise Unavailable(self.message)
            case Kind.REFUSE:
                raise Refused(self.message)


class Faults:
    """The faults planted in one process; gone when it restarts."""

    def __init__(self) -> None:
        self._planted: dict[tuple[str, str], Fault] = {}

    def route(self) -> Route:
        """``PUT`` plants ``{"kind", "message"}``, ``DELETE`` takes it away: both answer 204."""
        return Route("/faults/{payment}/{step}", self._turn, methods=["PUT", "DELETE"])

    async def strike(self, payment: str, step: str) -> None:
        """Let a fault that is planted here come true; else return at once."""
        if fault := self._planted.get((payment, step)):
            await fault.strike()

    async def _turn(self, request: Request) -> Response:
        if request.client is None or not ip_address(request.client.host).is_loopback:
            return Response("Only this machine may plant faults.", status_code=403)
        where = request.path_params["payment"], request.path_params["step"]
        self._planted.pop(where, None)
        if request.method == "PUT":
            self._planted[where] = _read(await request.json())
        return Response(status_code=204)


def _read(body: Any) -> Fault:
    try:
        return Fault(Kind(body["kind"]), str(body.get("message", "")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"A fault has a kind among {', '.join(Kind)}, and a message.") from error
