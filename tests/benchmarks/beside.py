"""Whether a long history makes taking in slower: the same load on an empty store, and beside what `KEEP` holds.

`KEEP` names the folder in which `make bench-large KEEP=FOLDER` left its database; it is copied, never written to.
"""

import os
import shutil
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import ingest
from report import load as busy, table

RUNS = int(os.environ.get("RUNS", "5"))
KEEP = os.environ.get("KEEP")


def main() -> str:
    """Measure both `RUNS` times, in turn."""
    if not KEEP:
        print("KEEP names no folder with a long history: see `make bench-large`.")
        return ""
    rates: dict[str, list[float]] = {"an empty store": [], "beside a long history": []}
    with TemporaryDirectory(dir=Path(KEEP).parent) as name:
        copied = Path(name) / "kept"
        shutil.copytree(KEEP, copied)
        for seed in range(1, RUNS + 1):
            rates["an empty store"].append(ingest.load(ingest.CASES[0]).rate)
            there = ingest.load(ingest.CASES[0], db=copied / "history.duckdb", seed=seed)
            rates["beside a long history"].append(there.rate)
    empty = statistics.median(rates["an empty store"])
    rows = [_row(*each, empty) for each in rates.items()]
    return table(("HTTP", "at least", "spans/s", "spread", "of that", "load"), rows)


def _row(title: str, rates: list[float], empty: float) -> list[str]:
    middle = statistics.median(rates)
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    return [title, "" if middle == empty else "90 %", f"{middle:,.0f}", spread, f"{middle / empty:.0%}", busy()]
