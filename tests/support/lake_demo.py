"""Two receivers, two collectors, PostgreSQL and SeaweedFS on this machine, and a stuck payment 8492."""

import signal
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from support.lake import LakePlace, LakeProcess, object_store
from support.postgres import running_postgres
from support.samples import wait_until
from support.scenario import CASES, read
from support.storied_otlp import requests
from support.telemetry import SECOND

CASE = "lost_after_its_caller_gave_up"
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}


def attention(collector: LakeProcess) -> str:
    """Returns the headline of the payment once it needs attention."""
    asked = {"name": "payment", "id": "8492"}
    answer = httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False, timeout=30)
    said = answer.json() if answer.status_code == httpx.codes.OK else {}
    return str(said["headline"]) if said.get("attention") else ""


def main(stays: bool) -> None:
    """Sends the payment through both receivers, kills one, and prints what both collectors say of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sagascope-lake-")))
        server = stack.enter_context(running_postgres())
        store = stack.enter_context(object_store(folder / "store"))
        server.create("lake")
        options = ("--s3-endpoint", store.endpoint)
        lake = LakePlace(server, "lake", "s3://lake/records", options, KEYS)
        receivers = [stack.enter_context(lake.running("receive", folder / f"receiver-{n}")) for n in (1, 2)]
        collectors = [stack.enter_context(lake.running("serve", folder / f"collector-{n}")) for n in (1, 2)]
        case = read(next(path for path in CASES if path.stem == CASE))
        started = time.time_ns() - round(case.now * SECOND)
        sent = requests(case.delivered(), "", started, case.now)
        for number, (path, body) in enumerate(sent):
            if number == len(sent) // 2:
                receivers[0].kill()
                print("Receiver 1 was killed; the other goes on.")
            receiver = receivers[1] if number >= len(sent) // 2 else receivers[number % 2]
            assert receiver.send(path, body)
        for number, collector in enumerate(collectors, 1):
            headline = wait_until(partial(attention, collector), "it does not find payment 8492", 60)
            print(f"Collector {number} ({collector.api}): {headline}")
        if stays:
            print("sagascope show 8492 --url URL and sagascope dashboard --url URL work now; Ctrl-C stops everything.")
            try:
                while True:
                    time.sleep(1)
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main(stays="--headless" not in sys.argv)
