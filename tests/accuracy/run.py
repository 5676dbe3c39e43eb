"""`make accuracy`: grades the diagnosis of many random sagas, of which the truth is known, and prints the result.

ARGS="--sagas 300000 --seed 7 --jobs 2" plays that many in two processes; `--show NUMBER` shows what happened in one of
them, and what was said. `--results FILE` appends the grades of each batch to a file as they come: a run that was ended
is continued by the same command, and `--sagas 0` reports what the file holds so far.
The exit status is 1 where an action would have done harm, or a customer line contradicted the truth.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path

from accuracy.grade import Grade, Problem, grade, played
from accuracy.report import NEVER, Report

BATCH_SAGAS = 200


def main() -> int:
    """Grades sagas, and prints the report."""
    parser = argparse.ArgumentParser(prog="make accuracy", description="Grade the diagnosis against a known truth.")
    parser.add_argument("--sagas", type=int, default=20_000, help="in batches of 200")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--results", type=Path, help="a file that keeps the grades of each batch")
    parser.add_argument("--show", type=int, help="the number of one saga")
    chosen = parser.parse_args()
    if chosen.show is not None:
        print("\n".join(_story(chosen.seed, chosen.show)))
        return 0
    began, report, known, new = time.monotonic(), Report(), set[int](), 0
    for first, grades in _kept(chosen.results, chosen.seed):
        report.add(grades)
        known.add(first)
    firsts = [first for first in range(0, chosen.sagas, BATCH_SAGAS) if first not in known]
    with chosen.results.open("a") if chosen.results else nullcontext() as results:
        for first, grades in _graded(chosen.seed, firsts, chosen.jobs):
            report.add(grades)
            new += len(grades)
            if results:
                print(json.dumps([chosen.seed, first, [asdict(each) for each in grades]]), file=results, flush=True)
    seconds = time.monotonic() - began
    print(report.text())
    total = sum(report.sagas.values())
    print(f"\n{total:,} sagas, seed {chosen.seed}; {new:,} of them in {seconds:.0f} s ({new / seconds:.0f} a second)")
    return 1 if any(report.count(kind) for kind in NEVER) else 0


def _kept(results: Path | None, seed: int) -> Iterator[tuple[int, list[Grade]]]:
    """(the first number of a batch, its grades) as they were kept; a line that was not finished is left out."""
    if results is None or not results.exists():
        return
    for line in results.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            of_seed, first, grades = json.loads(line)
            if of_seed == seed:
                yield first, [_grade(**each) for each in grades]


def _grade(problems: list[dict[str, object]], **fields: object) -> Grade:
    return Grade(**fields, problems=[Problem(**each) for each in problems])  # type: ignore[arg-type]


def _graded(seed: int, firsts: list[int], jobs: int) -> Iterator[tuple[int, list[Grade]]]:
    batch = partial(_batch, seed)
    if jobs == 1:
        yield from zip(firsts, map(batch, firsts), strict=True)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from zip(firsts, pool.map(batch, firsts), strict=True)


def _batch(seed: int, first: int) -> list[Grade]:
    return [grade(seed, number) for number in range(first, first + BATCH_SAGAS)]


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
