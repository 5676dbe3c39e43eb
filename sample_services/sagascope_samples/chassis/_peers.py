"""Calls to the other services."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

import sagascope
from sagascope_samples.chassis._errors import STATUS_OF, Refused, Unavailable

KEY_HEADER = "Idempotency-Key"
"""Two requests with one key ask for the same thing; it is done once."""

CALL_BACK_HEADER = "Call-Back"
"""The caller's path to ``POST`` to, should the work be taken now and done later."""

PATIENCE = httpx.Timeout(5.0, read=None)
"""A service that took the call may take its time over it; one that takes no calls is found out soon."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What another service answered; `accepted` says that it will call back when the work is done."""

    body: Any
    accepted: bool


class Peers:
    """The other services, by name, over one pool of connections."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._http = httpx.AsyncClient(timeout=PATIENCE, trust_env=False)

    async def close(self) -> None:
        """Close the connections; further calls fail."""
        await self._http.aclose()

    async def post(self, peer: str, path: str, body: Any, key: str, call_back: str = "") -> Reply:
        """Ask a service for something, under an idempotency key, with the current saga's context.

        Raises:
            Refused: it said no.
            Unavailable: it said not now, or something that it should not say.
            httpx.TransportError: it could not be asked, or the answer was lost.
        """
        headers = {KEY_HEADER: key, CALL_BACK_HEADER: call_back}
        sagascope.inject(headers)
        answer = await self._http.post(self._urls[peer] + path, json=body, headers=headers)
        if answer.is_success:
            return Reply(answer.json() if answer.content else None, answer.status_code == HTTPStatus.ACCEPTED)
        if answer.status_code == STATUS_OF[Refused]:
            raise Refused(answer.json()["error"])
        raise Unavailable(_why(answer))


def _why(answer: httpx.Response) -> str:
    if answer.status_code == STATUS_OF[Unavailable]:
        return str(answer.json()["error"])
    return f"{answer.request.url} answered {answer.status_code}"
