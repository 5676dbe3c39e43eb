"""Random faults in the real sample services, under load, and what must be found of each.

A seed decides which payments go wrong, and how; which service is killed, and which is stopped. What was not planted
is found out from the orchestrator: a payment that it has not closed is stuck too, because of a service that was killed
or stopped while it worked on it.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx

from sagascope_samples.calls import Order
from sagascope_samples.demo import Addresses
from support.collector import RunningCollector, running_collector
from support.proxy import Proxy, proxy_to
from support.samples import Samples, running_samples, wait_until

STEPS = {
    "fraud": "fraud.check",
    "wallet": "wallet.debit",
    "ledger": "ledger.record",
    "shipping": "shipping.book",
    "notification": "notification.send",
}
LATER = ("ledger", "shipping")
"""Services that take work and call back: what they work on dies with them."""

HEALTHY = 24
BETWEEN = 0.05
FOUND_WITHIN = 60.0


class Found(NamedTuple):
    """What the collector says of a payment."""

    reason: str | None
    phase: str | None
    step: str | None
    service: str | None


HEALED = Found(None, None, None, None)


@dataclass(frozen=True)
class Planted:
    """One payment that goes wrong."""

    payment: str
    told: str
    expected: Found
    faults: tuple[tuple[str, str, str], ...] = ()
    """(service, step, kind), switched on before the payment is sent."""
    signal: int | None = None
    """Sent to the service of the first fault once it works on the payment."""
    swallowed: bool = False
    """The call back of the first fault's service never arrives."""


@dataclass
class FaultPlan:
    """One seed: everything that is planted."""

    seed: int
    planted: list[Planted] = field(default_factory=list)
    cut: str = ""
    """The service whose wire is cut for a while at the end."""

    @classmethod
    def of(cls, seed: int) -> "FaultPlan":
        chance, plan = Random(seed), cls(seed)
        killed, stopped = chance.sample([*LATER, chance.choice(["fraud", "wallet"])], 2)
        sound = [service for service in STEPS if service not in (killed, stopped)]
        plan._add("killed", _lost(killed), signal.SIGKILL, (killed, STEPS[killed], "stall"))
        plan._add("stopped", _lost(stopped), signal.SIGSTOP, (stopped, STEPS[stopped], "stall"))
        hanging = chance.sample(sound, 2)
        for service in hanging:
            plan._add("hangs", _found("hung", service), None, (service, STEPS[service], "stall"))
        for service in chance.sample([each for each in sound if each != "shipping"], 2):
            plan._add("fails", _found("retrying", service), None, (service, STEPS[service], "fail"))
        forgotten = chance.choice(list(STEPS))
        plan._add(
            "forgotten", _found("next_step_missing", forgotten), None, ("orchestrator", STEPS[forgotten], "stall")
        )
        refusing = chance.choice(sound)
        plan._add("refused", HEALED, None, (refusing, STEPS[refusing], "refuse"))
        plan._plant_a_compensation(chance, sound)
        if told := [service for service in LATER if service in sound]:
            following = {"ledger": "shipping", "shipping": "notification"}[told[0]]
            expected = _found("next_step_missing", following)
            payment = f"s{seed}-swallowed"
            plan.planted.append(
                Planted(payment, "its call back is lost", expected, swallowed=True, faults=((told[0], "", ""),))
            )
        plan.cut = chance.choice([service for service in sound if service not in hanging])
        return plan

    def _plant_a_compensation(self, chance: Random, sound: list[str]) -> None:
        """Plans a payment that is refused late, and whose compensation fails."""
        compensated = [service for service in ("wallet", "ledger") if service in sound]
        if not compensated or "notification" not in sound:
            return
        service = chance.choice(compensated)
        step = {"wallet": "wallet.refund", "ledger": "ledger.reverse"}[service]
        kind, reason = chance.choice([("fail", "retrying"), ("refuse", "compensation_failed")])
        expected = Found(reason, "compensation", step, service)
        late = ("notification", STEPS["notification"], "refuse")
        self._add(f"undo {kind}s", expected, None, late, (service, step, kind))

    def _add(self, told: str, expected: Found, number: int | None, *faults: tuple[str, str, str]) -> None:
        payment = f"s{self.seed}-{len(self.planted)}-{told.replace(' ', '-')}"
        self.planted.append(Planted(payment, f"{told} in {faults[-1][0]}", expected, faults, number))


def _found(reason: str, service: str) -> Found:
    return Found(reason, "forward", STEPS[service], service)


def _lost(service: str) -> Found:
    """A caller that waits for the answer finds out, and asks again; one that waits for a call back does not."""
    return _found("instance_lost", service) if service in LATER else HEALED


@dataclass
class World:
    """Collector and services, with a wire that can be cut before each service."""

    collector: RunningCollector
    samples: Samples
    wires: dict[str, Proxy]
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0, trust_env=False))

    def restart(self, name: str) -> None:
        self.samples.start(name, **{peer: wire.url for peer, wire in self.wires.items()})
        self.samples.wait_ready(name)

    def saga(self, payment: str) -> dict[str, Any]:
        answer = self.http.get(f"{self.collector.api}/api/v1/sagas/payment/{payment}")
        return dict(answer.json()) if answer.is_success else {}

    def needing(self) -> dict[str, Found]:
        """Every payment that needs attention."""
        items = self.http.get(f"{self.collector.api}/api/v1/sagas", params={"attention": "any", "limit": 500}).json()[
            "items"
        ]
        return {each["id"]: Found(each["attention"], each["phase"], each["step"], each["service"]) for each in items}

    def is_in_flight(self, payment: str, step: str, service: str) -> bool:
        for each in self.saga(payment).get("steps", ()):
            if each["name"] == step and each["service"] == service and each["state"] == "in_flight":
                return True
        return False


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Everything is ready until the block ends."""
    with ExitStack() as stack:
        collector = stack.enter_context(running_collector(folder))
        addresses = Addresses.choose({}, free=True).services
        wires = {name: stack.enter_context(proxy_to(at.url)) for name, at in addresses.items()}
        peers = {name: wire.url for name, wire in wires.items()}
        services = running_samples(folder, telemetry=collector.otlp_http, addresses=addresses, **peers)
        made = World(collector, stack.enter_context(services), wires)
        yield made
        made.http.close()


def play(world: World, plan: FaultPlan) -> None:
    """Plant everything, send payments, and do to the processes what the seed says."""
    chance = Random(plan.seed)
    for each in plan.planted:
        if each.swallowed:
            service = each.faults[0][0]
            world.wires["orchestrator"].swallow(f"{each.payment}/{STEPS[service]}")
        for service, step, kind in each.faults:
            if kind:
                world.samples.plant(service, each.payment, step, kind, f"planted: {each.told}")
    payments = [each.payment for each in plan.planted] + [f"s{plan.seed}-well-{n}" for n in range(HEALTHY)]
    for payment in chance.sample(payments, len(payments)):
        world.samples.pay(order(payment, chance))
        time.sleep(BETWEEN)
    for each in sorted(plan.planted, key=lambda each: each.signal == signal.SIGSTOP):
        if each.signal is not None:
            _strike(world, each)
    _cut(world, plan, chance)


def _strike(world: World, planted: Planted) -> None:
    """Send the signal once the service works on the payment; one that was stopped is killed when that was found."""
    service, step, _ = planted.faults[0]
    wait_until(
        lambda: world.is_in_flight(planted.payment, step, service),
        f"{planted.payment} is not in flight in {service}",
        FOUND_WITHIN,
    )
    if planted.signal == signal.SIGSTOP:
        world.samples.processes[service].send_signal(signal.SIGSTOP)
        lost = _found("instance_lost", service)
        wait_until(
            lambda: world.needing().get(planted.payment) == lost, f"{planted.told}: not found to be lost", FOUND_WITHIN
        )
    world.samples.stop(service, signal.SIGKILL)
    world.restart(service)


def _cut(world: World, plan: FaultPlan, chance: Random) -> None:
    """Cut a wire until it shows, then mend it: what was stuck goes on."""
    payment, expected = f"s{plan.seed}-cut", _found("retrying", plan.cut)
    wire = world.wires[plan.cut]
    wire.cut()
    world.samples.pay(order(payment, chance))
    wait_until(
        lambda: world.needing().get(payment) == expected,
        f"the wire to {plan.cut} is cut: found {world.needing().get(payment)}, not {expected}",
        FOUND_WITHIN,
    )
    wire.mend()


def order(payment: str, chance: Random) -> Order:
    amount = Decimal(chance.randrange(450, 25_000)).scaleb(-2)
    return Order(payment, f"ord-{payment}", f"Shop {chance.randrange(1000)}", amount, "EUR")


def is_closed(world: World, payment: str) -> bool:
    return world.samples.state(payment) in ("completed", "compensated", "failed")
