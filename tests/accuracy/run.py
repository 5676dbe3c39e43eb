"""`make accuracy`: grades the diagnosis of many random sagas, of which the truth is known, and prints the result.

ARGS="--sagas 300000 --seed 7" plays that many; `--show NUMBER` tells what happened in one of them, and what was said.
The exit status is 1 where an action would have done harm, or a customer line contradicted the truth.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from accuracy.grade import Grade, grade, played
from accuracy.report import NEVER, Report

BATCH_SAGAS = 200


def main() -> int:
    """Grades sagas, and prints the report."""
    parser = argparse.ArgumentParser(prog="make accuracy", description="Grade the diagnosis against a known truth.")
    parser.add_argument("--sagas", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", type=int, help="the number of one saga")
    chosen = parser.parse_args()
    if chosen.show is not None:
        print("\n".join(_story(chosen.seed, chosen.show)))
        return 0
    began, report = time.monotonic(), Report()
    parts = [range(first, min(first + BATCH_SAGAS, chosen.sagas)) for first in range(0, chosen.sagas, BATCH_SAGAS)]
    if chosen.processes == 1:
        for part in parts:
            report.add(_graded(chosen.seed, part))
    else:
        with ProcessPoolExecutor(chosen.processes) as pool:
            for grades in pool.map(partial(_graded, chosen.seed), parts):
                report.add(grades)
    seconds = time.monotonic() - began
    print(report.text())
    print(f"\n{chosen.sagas:,} sagas, seed {chosen.seed}, {seconds:.0f} s ({chosen.sagas / seconds:.0f} a second)")
    return 1 if any(report.count(kind) for kind in NEVER) else 0


def _graded(seed: int, numbers: range) -> list[Grade]:
    return [grade(seed, number) for number in numbers]


def _story(seed: int, number: int) -> Iterator[str]:
    case = played(seed, number)
    yield f"{case.shape}\n{case.fault}\n{case.damage}"
    for work in case.story.works:
        caller = work.caller.name if work.caller else "a message"
        times = f"{work.called:.2f}..{work.ended:.2f}, answer {work.returned:.2f}, effect {work.effect:.2f}"
        who = f"{work.kind} {work.name} {work.step.key} #{work.number}: {caller} to {work.executor.name}"
        yield f"  {who}, {times} {work.executor_error or work.caller_error}"
    yield f"ended {case.story.ended:.2f} {case.story.outcome}"
    yield from (f"  right to say: {each}" for each in case.claims)
    found = grade(seed, number)
    yield f"expected {found.expected}, said {found.answer}"
    yield from (f"  {each.kind} at {each.at:.2f}: {each.text}" for each in found.problems)


if __name__ == "__main__":
    sys.exit(main())
