"""Counts how many of a million healthy sagas are ever reported to need attention.

`SAGAS` says how many there are, `WORLDS` in how many worlds, each with all that happens on a day: a deploy, fleets that
shrink and grow, pauses of garbage collection, everything slower by five (see `tests/support/healthy.py`). Each saga is
diagnosed by the real rules, with what a collector had learned by then: at the end of its longest wait for news, of each
that took over two seconds, and after each shutdown of a process that had just worked for it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from report import table

from support.alarms import Alarms, alarms
from support.healthy import PHASES, World

SAGAS = int(os.environ.get("SAGAS", "1000000"))
WORLDS = int(os.environ.get("WORLDS", "8"))
PROCESSES = int(os.environ.get("PROCESSES", "2"))
SEED = 8492


def main() -> str:
    """One row for each part of the day, and one for all."""
    total = Alarms()
    with ProcessPoolExecutor(PROCESSES) as pool:
        for found in pool.map(_diagnosed, range(SEED, SEED + WORLDS)):
            total.add(found)
    head = ("what goes on", "bound", "sagas", "ever flagged", "of 100,000", "incidents a world")
    return table(head, _rows(total)) + f"\n\nAt most {total.at_once} flagged at one moment; {total.notices} notices."


def _diagnosed(seed: int) -> Alarms:
    return alarms(World(seed, SAGAS // WORLDS))


def _rows(total: Alarms) -> Iterator[Sequence[str]]:
    for phase in PHASES:
        sagas, flagged = round(total.sagas * (phase.end - phase.start)), total.flagged[phase.name]
        yield (
            phase.name,
            "",
            f"{sagas:,}",
            f"{flagged:,}",
            f"{flagged / sagas * 1e5:.2f}",
            str(total.incidents[phase.name]),
        )
    flagged = total.flagged.total()
    yield "all", "1 of 100,000", f"{total.sagas:,}", f"{flagged:,}", f"{flagged / total.sagas * 1e5:.2f}", ""
