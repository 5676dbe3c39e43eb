"""Assembly and diagnosis take time linear in the number of records."""

import gc
import time
from collections.abc import Callable

import pytest

from sagascope import semconv
from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.records import Facts, Mark, Process, SagaId, Span
from support.telemetry import SECOND

START = 1_795_000_000 * SECOND
NOW = START + 86_400 * SECOND
FEW, MANY = 500, 8_000
WALLET = Process("", "wallet", "1.0", "w", "wallet-1")


def attempts(
    count: int,
    attempt: Callable[[int], int],
    step: Callable[[int], str],
    parent: Callable[[int], int],
    compensates: Callable[[int], str] = lambda _: "",
    key: Callable[[int], str] = lambda _: "",
) -> Facts:
    """A saga of attempts, each described by its number."""

    def type_(number: int) -> str:
        return semconv.TYPE_COMPENSATION if compensates(number) else ""

    spans = [
        Span(
            "a" * 32,
            f"{number + 1:016x}",
            f"{above:016x}" if (above := parent(number)) else "",
            "work",
            "server",
            START + number * SECOND,
            START + number * SECOND + SECOND // 2,
            "unset",
            "",
            Mark("8492", "payment", "", semconv.ROLE_STEP, step(number), type_(number), key(number), attempt(number)),
            WALLET,
            {semconv.SAGA_ID: "8492", semconv.SAGA_NAME: "payment"}
            | ({semconv.STEP_COMPENSATES: of} if (of := compensates(number)) else {}),
        )
        for number in range(count)
    ]
    return Facts(SagaId("", "8492"), tuple(spans), (), ())


def compensated(count: int, key: Callable[[int], str], step: Callable[[int], str]) -> Facts:
    """A saga in which each step, or each item of a step, is compensated once."""
    half = count // 2

    def compensates(number: int) -> str:
        return step(number % half) if number >= half else ""

    def name(number: int) -> str:
        return f"un{compensates(number)}" if compensates(number) else step(number)

    return attempts(count, lambda _: 1, name, lambda _: 0, compensates, lambda number: key(number % half))


SHAPES: dict[str, Callable[[int], Facts]] = {
    "executions of one attempt": lambda count: attempts(count, lambda _: 1, lambda _: "debit", lambda _: 0),
    "attempts of one step": lambda count: attempts(count, lambda n: n + 1, lambda _: "debit", lambda _: 0),
    "attempts without a number": lambda count: attempts(count, lambda _: 0, lambda _: "debit", lambda _: 0),
    "steps": lambda count: attempts(count, lambda _: 1, lambda n: f"step {n}", lambda _: 0),
    "compensated steps": lambda count: compensated(count, lambda _: "", lambda n: f"step {n}"),
    "compensated items": lambda count: compensated(count, lambda n: f"item-{n}", lambda _: "pick"),
    "steps below one": lambda count: attempts(count, lambda _: 1, lambda n: f"step {n}", lambda n: 1 if n else 0),
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_time_grows_with_what_there_is(shape: str) -> None:
    def seconds(count: int) -> float:
        facts = SHAPES[shape](count)
        gc.disable()  # what else this process holds would be looked through as well
        try:
            begun = time.process_time()
            for saga in rebuild(facts, NOW):
                diagnose(saga, (), Context(NOW))
            return time.process_time() - begun
        finally:
            gc.enable()

    seconds(FEW)
    few = min(seconds(FEW) for _ in range(3))
    growth = MANY / FEW
    many = min(seconds(MANY) for _ in range(2))
    assert many < max(few, 0.005) * growth * 5, "the square of it would be sixteen times as much"
