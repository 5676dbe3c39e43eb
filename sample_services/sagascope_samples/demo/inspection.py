"""What the collector says, asked over its HTTP API as any client would."""

from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import httpx

from sagascope_samples.story import SAGA, Finding

PAGE: Final = 200
"""Sagas asked for at once."""


class Inspector:
    """Asks one collector; a context manager."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=10.0, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def saga(self, payment: str) -> Any | None:
        """One saga in full; None while the collector has not heard of it."""
        answer = await self._http.get("/api/v1/saga", params={"name": SAGA, "id": payment})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return answer.raise_for_status().json()

    async def ids(self, **narrowed: str) -> set[str]:
        """Ids of all sagas that a filter of the list lets through."""
        found: set[str] = set()
        query: dict[str, Any] = {"name": SAGA, "limit": PAGE, **narrowed}
        while True:
            page = (await self._http.get("/api/v1/sagas", params=query)).raise_for_status().json()
            found |= {saga["id"] for saga in page["items"]}
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def is_known_at_work(self, payment: str, service: str) -> bool:
        """Whether the collector knows that the service works on the payment now, and that it beats meanwhile.

        A process that is killed after this has said all that is needed to tell that it is gone.
        """
        saga = await self.saga(payment)
        attempts = [attempt for step in (saga or {"steps": []})["steps"] for attempt in step["attempts"]]
        if not any(attempt["state"] == "in_flight" and attempt["service"] == service for attempt in attempts):
            return False
        services = (await self._http.get("/api/v1/services")).raise_for_status().json()["items"]
        return any(
            instance["in_flight"] > 0
            for each in services
            if each["service"] == service
            for instance in each["instances"]
        )


def finding_in(saga: Any) -> Finding:
    """What a saga's summary says of it, as far as the story speaks of it."""
    return Finding(saga["status"], saga["attention"], saga["phase"], saga["step"], saga["service"])
