"""The scenarios of the demo: their payments, faults and processes; and the scenario over HTTP."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from itertools import count, islice
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import httpx

from sagascope_samples.calls import KEY_HEADER, Order
from sagascope_samples.chassis import Fault, FaultKind, faults_to_environment
from sagascope_samples.demo.supervisor import (
    POLL_INTERVAL_SECONDS,
    Addresses,
    ProcessSpec,
    Supervisor,
    module,
    services,
)

SAGA: Final = "payment"
SEED: Final = 8492
FIRST_ID: Final = 8481

PAYMENTS: Final = 14
"""Payments of a scenario that ends."""

PAYMENT_INTERVAL_SECONDS: Final = 0.2

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""

PAGE_SIZE: Final = 200
PROGRESS_TIMEOUT_SECONDS: Final = 30.0

CUSTOMERS: Final = (
    "Blue Kettle", "Copper Fern", "Paper Moon", "Salt & Pine", "Quiet Harbour", "Tin Sparrow", "Amber Lane",
    "North Pier", "Velvet Crow", "Little Atlas", "Green Lamp Books", "Stone Orchard",
)  # fmt: skip
"""Invented shops."""


def generate_payments() -> Iterator[Order]:
    """Yields the same payments each time, without end, with ids ascending from `FIRST_ID`."""
    random = Random(SEED)  # noqa: S311  the scenario must repeat; nothing here is a secret
    for number in count(FIRST_ID):
        yield Order(
            payment=str(number),
            order_id=f"ord-{random.randrange(10_000, 100_000)}",
            customer=random.choice(CUSTOMERS),
            currency=random.choice(("EUR", "EUR", "GBP", "USD")),
            amount=Decimal(random.randrange(450, 25_000)).scaleb(-2),
        )


async def spaced_payments(first: int = FIRST_ID, number: int = PAYMENTS) -> AsyncIterator[Order]:
    """Yields payments from this id on, `PAYMENT_INTERVAL_SECONDS` apart."""
    begin = first - FIRST_ID
    for order in islice(generate_payments(), begin, begin + number):
        yield order
        await asyncio.sleep(PAYMENT_INTERVAL_SECONDS)


def step_timeouts(*steps: str) -> tuple[str, ...]:
    """Returns the collector's options that give these steps `STEP_TIMEOUT_SECONDS` to start."""
    return tuple(word for step in steps for word in ("--step-timeout", f"{SAGA}/{step}={STEP_TIMEOUT_SECONDS}"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What the collector reports of a saga: the fields of its summary that the scenario checks."""

    status: str
    attention: str | None
    phase: str | None
    step: str | None
    service: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFault:
    """A fault in one payment, and the expected finding."""

    payment: str
    description: str
    expected: Finding
    headline: str = ""
    """Words that the headline must contain, because they name the cause."""


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
        instances = [each for found in services if found["service"] == service for each in found["instances"]]
        return any(instance["in_flight"] > 0 for instance in instances)


class ScenarioStalled(Exception):
    """The scenario cannot continue, although no process died. The message says what it waits for."""


async def wait_until(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Waits until the condition is true.

    Raises:
        ScenarioStalled: It is not true in time.
    """
    deadline = asyncio.get_running_loop().time() + PROGRESS_TIMEOUT_SECONDS
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise ScenarioStalled(f"No progress for {PROGRESS_TIMEOUT_SECONDS:.0f} s: {otherwise}.")
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


FaultReporter = Callable[[PlantedFault], None]
"""Tells a person that a fault was planted."""


class Scenario(ABC):
    """One kind of demo: its processes, its payments, and the faults that it plants in them.

    Args:
        services: Processes that must be ready before the first payment.
    """

    planted_faults: ClassVar[Sequence[PlantedFault]]
    payment_count: ClassVar[int] = PAYMENTS
    """Payments of a headless run: every planted fault, and enough payments without one to compare with."""
    collector_options: ClassVar[Sequence[str]] = ()
    """Further command-line options of the collector."""
    supervisor: Supervisor
    inspector: Inspector
    report: FaultReporter

    def __init__(self, services: Sequence[ProcessSpec]) -> None:
        self.services = services
        self.sent: list[str] = []
        """Payments sent so far, in order."""

    def attach(self, supervisor: Supervisor, inspector: Inspector, report: FaultReporter) -> None:
        """Connects it to the running processes, before `play`."""
        self.supervisor, self.inspector, self.report = supervisor, inspector, report

    @abstractmethod
    async def play(self, *, until_cancelled: bool = False) -> None:
        """Sends `payment_count` payments, and plants the faults; with `until_cancelled`, does not return afterwards."""

    async def wait_for_healthy(self) -> None:
        """Waits until all payments without a fault that were sent have completed."""
        healthy = set(self.sent) - {each.payment for each in self.planted_faults}

        async def are_completed() -> bool:
            return healthy <= await self.inspector.ids(status="completed")

        await wait_until(are_completed, "payments without a fault have not completed")

    async def wait_in_flight(self, payment: str, service: str) -> None:
        """Waits until the collector knows that the service works on the payment."""
        otherwise = f"the collector does not know that {service} works on payment {payment}"
        await wait_until(lambda: self.inspector.is_in_flight(payment, service), otherwise)


class ShopScenario(Scenario):
    """Starts one process without an HTTP port, and kills it during a payment.

    The process is the module of the subclass, with the first id, the number of payments and a folder for its files.
    """

    faults: ClassVar[Mapping[str, FaultKind]]
    """By ``PAYMENT/STEP``."""
    killed: ClassVar[str]
    """The payment during which the process is killed."""

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        super().__init__([])
        self._endpoint = addresses.otlp_http.url
        self._folder = folder

    async def play(self, *, until_cancelled: bool = False) -> None:
        """Plays the scenario to its end; with `until_cancelled`, does not return afterwards."""
        # the exporter reads the environment, where no proxy and no disabled SDK may keep it from the collector here
        environment = {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{self._endpoint}/v1/traces",
            "NO_PROXY": "*",
            **faults_to_environment(self.faults),
        }
        command = module(type(self).__module__, str(FIRST_ID), str(self.payment_count), str(self._folder))
        self.supervisor.start(ProcessSpec("shop", command, environment, ready_url=""))
        self.sent += [str(FIRST_ID + number) for number in range(self.payment_count)]

        async def is_received() -> bool:
            return await self.inspector.saga(self.killed) is not None

        await wait_until(is_received, f"payment {self.killed} was not received")
        await self.wait_for_healthy()
        await self.supervisor.kill("shop")
        for planted in self.planted_faults:
            self.report(planted)
        if until_cancelled:
            await asyncio.Event().wait()


# --- six services over HTTP, with an orchestrator ----------------------------------------------------

HEADLESS_PAYMENTS: Final = 25
HTTP_INTERVAL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFault(PlantedFault):
    """A fault in one payment, planted in one service."""

    service: str
    step: str
    fault: Fault
    kills_service: bool = False
    """Whether the service's process is killed while it works on the payment, and restarted."""


PLANTED_FAULTS: Final = (
    ServiceFault(
        payment="8492",
        description="The ledger is killed (SIGKILL) while it records this payment, and restarted; its callback never "
        "arrives.",
        service="ledger",
        step="ledger.record",
        fault=Fault(FaultKind.STALL),
        expected=Finding("running", "instance_lost", "forward", "ledger.record", "ledger"),
        kills_service=True,
    ),
    ServiceFault(
        payment="8495",
        description="Shipping waits for a response of the carrier that never arrives.",
        service="shipping",
        step="shipping.book",
        fault=Fault(FaultKind.STALL),
        expected=Finding("running", "hung", "forward", "shipping.book", "shipping"),
    ),
    ServiceFault(
        payment="8497",
        description="The account is locked, and the wallet retries the debit again and again.",
        service="wallet",
        step="wallet.debit",
        fault=Fault(FaultKind.FAIL, "The account is locked by the end-of-day run"),
        expected=Finding("running", "retrying", "forward", "wallet.debit", "wallet"),
    ),
    ServiceFault(
        payment="8500",
        description="The orchestrator does not start the next step, shipping.",
        service="orchestrator",
        step="shipping.book",
        fault=Fault(FaultKind.STALL),
        expected=Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
    ),
    ServiceFault(
        payment="8502",
        description="The ledger refuses this payment, and its committed steps are compensated: no action required.",
        service="ledger",
        step="ledger.record",
        fault=Fault(FaultKind.REFUSE, "The books of this month are closed"),
        expected=Finding("compensated", None, None, None, None),
    ),
)

FAULT_BY_PAYMENT: Final = {planted.payment: planted for planted in PLANTED_FAULTS}


class HttpScenario(Scenario):
    """Requests payments from the orchestrator, and kills a service while it works on one."""

    planted_faults = PLANTED_FAULTS
    payment_count = HEADLESS_PAYMENTS

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        super().__init__(services(addresses, folder))
        self._urls = {name: address.url for name, address in addresses.services.items()}

    async def play(self, *, until_cancelled: bool = False) -> None:
        """Sends `payment_count` payments, and plants the faults; with `until_cancelled`, sends payments without end."""
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            for order in islice(generate_payments(), None if until_cancelled else self.payment_count):
                next_at = asyncio.get_running_loop().time() + HTTP_INTERVAL_SECONDS
                planted = FAULT_BY_PAYMENT.get(order.payment)
                if planted is None:
                    await self._send(http, order)
                elif planted.kills_service:
                    await self._kill_in_flight(http, order, planted)
                else:
                    await self._send_with_fault(http, order, planted)
                await asyncio.sleep(max(0.0, next_at - asyncio.get_running_loop().time()))

    async def _send(self, http: httpx.AsyncClient, order: Order) -> None:
        self.sent.append(order.payment)
        url, headers = f"{self._urls['orchestrator']}/payments", {KEY_HEADER: order.payment}
        (await http.post(url, json=order.write(), headers=headers)).raise_for_status()

    async def _send_with_fault(self, http: httpx.AsyncClient, order: Order, planted: ServiceFault) -> None:
        url = f"{self._urls[planted.service]}/faults/{planted.payment}/{planted.step}"
        fault = {"kind": planted.fault.kind, "message": planted.fault.message}
        (await http.put(url, json=fault)).raise_for_status()
        await self._send(http, order)
        self.report(planted)

    async def _kill_in_flight(self, http: httpx.AsyncClient, order: Order, planted: ServiceFault) -> None:
        """Kills a service while it works on this payment and no other, and restarts it."""
        await self.wait_for_healthy()
        await self._send_with_fault(http, order, planted)
        await self.wait_in_flight(planted.payment, planted.service)
        service = next(each for each in self.services if each.name == planted.service)
        await self.supervisor.kill(service.name)
        self.supervisor.start(service)
        await self.supervisor.wait_ready(service)
