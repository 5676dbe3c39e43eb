"""Leads one return through two services: takes the goods back here, and has the refund paid by the Node.js service.

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
        Step("goods.take_back"),
        Step("refund.pay", compensation="refund.revoke", timeout=5.0),
        Step("goods.restock", timeout=5.0),
    ],
)


BETWEEN_LOOKS = 0.05
"""Seconds between two questions how the work goes."""


class Refused(Exception):
    """The refunds service took the work, and could not do it."""


class Lost(Exception):
    """The goods cannot be found, after the refund was paid."""


def ask(refunds: str, path: str, order: str, amount: str, step: str) -> None:
    """Have the refunds service do a step, inside the current saga; wait for its end, as long as it takes.

    Raises:
        Refused: It was not done.
    """
    key = f"{order}/{step}"
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    sagascope.inject(headers, to=refunds)  # `traceparent` and `baggage`: the saga and step that this is
    call(f"{refunds}/{path}", headers, {"order": order, "amount": amount, "currency": "EUR"})
    while (how := look(f"{refunds}/work/{quote(key)}"))["state"] == "working":
        time.sleep(BETWEEN_LOOKS)
    if how["state"] == "refused":
        raise Refused(how["error"])


def look(url: str) -> Json:
    """How the work goes; a service that is away, or has forgotten it, says nothing of its end."""
    try:
        return call(url, {})
    except OSError:
        return {"state": "working"}


def call(url: str, headers: dict[str, str], body: Json | None = None) -> Json:
    """One call to the refunds service.

    Raises:
        OSError: It is away, or answers with an error.
    """
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as response:  # noqa: S310
        return dict(json.load(response))


def take_back(order: str, amount: str, refunds: str, *, lost: bool) -> None:
    """Lead the return of one order, and undo the refund if the goods are lost after it.

    Raises:
        Lost: The refund is undone.
        Refused: It was not paid, or could not be undone.
        OSError: The refunds service was away when it was asked.
    """
    with RETURN.begin(order, amount=amount, currency="EUR", keys={"order_id": order}) as saga:
        with saga.step("goods.take_back"):
            pass
        with saga.step("refund.pay", idempotency_key=f"{order}/refund.pay"):
            ask(refunds, "refunds", order, amount, "refund.pay")
        try:
            with saga.step("goods.restock"):
                if lost:
                    raise Lost(f"The goods of order {order} cannot be found")
        except Lost:
            with saga.compensation("refund.revoke", idempotency_key=f"{order}/refund.revoke"):
                ask(refunds, "revocations", order, amount, "refund.revoke")
            raise


def main() -> int:
    """Lead one return, as the command line says."""
    parser = argparse.ArgumentParser(description="Leads one return through two services.")
    parser.add_argument("order")
    parser.add_argument("--amount", default="50.00")
    parser.add_argument("--refunds", default="http://127.0.0.1:8090", help="address of the Node.js service")
    parser.add_argument("--lost", action="store_true", help="lose the goods after the refund was paid")
    said = parser.parse_args()
    sagascope.configure("returns")
    try:
        take_back(said.order, said.amount, said.refunds, lost=said.lost)
    except (Lost, Refused, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
