"""Runs one return through two services: receives the goods here, and calls the Node.js service for the refund.

python orchestrator.py ORDER [--amount 50.00] [--refunds http://127.0.0.1:8090] [--lost]
"""

import argparse
import json
import sys
import time
import urllib.request
from typing import Any
from urllib.parse import quote

import sagascope
from sagascope import Saga, Step

Json = dict[str, Any]

RETURN = Saga(
    "return",
    [
        Step("goods.receive"),
        Step("refund.pay", compensation="refund.revoke", timeout=5.0),
        Step("goods.restock", timeout=5.0),
    ],
)


POLL_INTERVAL_SECONDS = 0.05


class Refused(Exception):
    """The refunds service refused the accepted work."""


class Lost(Exception):
    """The goods were lost after the refund was paid."""


def execute(refunds: str, path: str, order: str, amount: str, step: str) -> None:
    """Executes a step in the refunds service, inside the current saga, and waits for its end without a timeout.

    Raises:
        Refused: The service refused it.
    """
    key = f"{order}/{step}"
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    sagascope.inject(headers, to=refunds)  # `traceparent` and `baggage` with the saga and the step
    call(f"{refunds}/{path}", headers, {"order": order, "amount": amount, "currency": "EUR"})
    while (work := state_of(f"{refunds}/work/{quote(key)}"))["state"] == "working":
        time.sleep(POLL_INTERVAL_SECONDS)
    if work["state"] == "refused":
        raise Refused(work["error"])


def state_of(url: str) -> Json:
    """Returns the state of accepted work; while the service is unavailable or has lost it, it counts as working."""
    try:
        return call(url, {})
    except OSError:
        return {"state": "working"}


def call(url: str, headers: dict[str, str], body: Json | None = None) -> Json:
    """Calls the refunds service.

    Raises:
        OSError: It is unavailable, or responds with an error.
    """
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as response:  # noqa: S310
        return dict(json.load(response))


def return_goods(order: str, amount: str, refunds: str, *, lost: bool) -> None:
    """Runs the return of one order, and revokes the refund if the goods are lost after it.

    Raises:
        Lost: The goods were lost, and the refund was revoked.
        Refused: The refund or its revocation was refused.
        OSError: The refunds service was unavailable.
    """
    with RETURN.begin(order, amount=amount, currency="EUR", keys={"order_id": order}) as saga:
        with saga.step("goods.receive"):
            pass
        with saga.step("refund.pay", idempotency_key=f"{order}/refund.pay"):
            execute(refunds, "refunds", order, amount, "refund.pay")
        try:
            with saga.step("goods.restock"):
                if lost:
                    raise Lost(f"The goods of order {order} cannot be found")
        except Lost:
            with saga.compensation("refund.revoke", idempotency_key=f"{order}/refund.revoke"):
                execute(refunds, "revocations", order, amount, "refund.revoke")
            raise


def main() -> int:
    """Runs one return."""
    parser = argparse.ArgumentParser(description="Runs one return through two services.")
    parser.add_argument("order")
    parser.add_argument("--amount", default="50.00")
    parser.add_argument("--refunds", default="http://127.0.0.1:8090", help="address of the Node.js service")
    parser.add_argument("--lost", action="store_true", help="lose the goods after the refund is paid")
    given = parser.parse_args()
    sagascope.configure("returns")
    try:
        return_goods(given.order, given.amount, given.refunds, lost=given.lost)
    except (Lost, Refused, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
