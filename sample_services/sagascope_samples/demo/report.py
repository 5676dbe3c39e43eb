"""What the collector found: its answers over the HTTP API, and whether they match the planted faults."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Protocol, Self

import httpx

from sagascope_samples.scenario import SAGA, Finding

PAGE_SIZE: Final = 200


class PlantedFault(Protocol):
    """A fault in one payment."""

    @property
    def payment(self) -> str:
        """The payment's id."""
        ...

    @property
    def description(self) -> str:
        """What was planted."""
        ...

    @property
    def expected(self) -> Finding:
        """The expected finding."""
        ...

    @property
    def headline(self) -> str:
        """Words that the headline must contain, because they name the cause."""
        ...


class Inspector:
    """Queries one collector over its HTTP API, as any client does; a context manager."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=10.0, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def saga(self, payment: str) -> Any | None:
        """Returns one saga in full; None if the collector does not know it."""
        response = await self._http.get("/api/v1/saga", params={"name": SAGA, "id": payment})
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        return response.raise_for_status().json()

    async def ids(self, **filters: str) -> set[str]:
        """Returns the ids of all sagas that match the filters of the list."""
        found: set[str] = set()
        query: dict[str, Any] = {"name": SAGA, "limit": PAGE_SIZE, **filters}
        while True:
            page = (await self._http.get("/api/v1/sagas", params=query)).raise_for_status().json()
            found |= {saga["id"] for saga in page["items"]}
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def is_in_flight(self, payment: str, service: str) -> bool:
        """Returns whether the collector knows that the service works on the payment now, and sends heartbeats.

        The loss of a process that is killed after that is detected.
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


@dataclass(frozen=True, slots=True)
class Result:
    """What the collector found of one planted fault; `found` is None if it does not know the payment."""

    planted: PlantedFault
    found: Finding | None
    headline: str = ""

    @property
    def ok(self) -> bool:
        """Whether the fault was found, with its cause."""
        return self.found == self.planted.expected and self.planted.headline in self.headline


@dataclass(frozen=True, slots=True)
class Report:
    """What the collector found in the whole scenario."""

    results: Sequence[Result]
    false_alarms: Sequence[str] = ()
    """Payments without a fault that need attention according to the collector."""
    unfinished: Sequence[str] = ()
    """Payments without a fault that have not completed."""

    @property
    def ok(self) -> bool:
        """Whether all planted faults were found, and nothing else."""
        return all(result.ok for result in self.results) and not self.false_alarms and not self.unfinished

    def document(self) -> dict[str, Any]:
        """Returns the report as JSON."""
        return {"ok": self.ok, "faults": [_fault(result) for result in self.results]}


def empty_report(planted_faults: Iterable[PlantedFault]) -> Report:
    """Returns the report of a run in which the collector could not be queried."""
    return Report([Result(planted, None) for planted in planted_faults])


async def create_report(inspector: Inspector, planted_faults: Sequence[PlantedFault], sent: Iterable[str]) -> Report:
    """Queries the collector and returns the current report."""
    healthy = set(sent) - {planted.payment for planted in planted_faults}
    return Report(
        [await result_of(inspector, planted) for planted in planted_faults],
        sorted(await inspector.ids(attention="any") & healthy),
        sorted(healthy - await inspector.ids(status="completed")),
    )


async def result_of(inspector: Inspector, planted: PlantedFault) -> Result:
    """Queries the collector about one planted fault."""
    saga = await inspector.saga(planted.payment)
    if saga is None:
        return Result(planted, None)
    found = Finding(saga["status"], saga["attention"], saga["phase"], saga["step"], saga["service"])
    return Result(planted, found, saga["headline"])


def _fault(result: Result) -> dict[str, Any]:
    planted = {"description": result.planted.description, **asdict(result.planted.expected)}
    found = result.found and {**asdict(result.found), "headline": result.headline}
    return {"id": result.planted.payment, "planted": planted, "found": found, "ok": result.ok}
