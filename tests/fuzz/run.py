"""`make fuzz`: throws bent bytes at every target for as long as it is told, and keeps what does harm.

    make fuzz                              ten minutes, all targets in turn
    make fuzz ARGS="--minutes 60 partial"  an hour, one of them

Hypothesis bends the corpus; `guided.py` goes further where atheris is installed. What does harm is written to
`artefacts/fuzz/TARGET/`, and belongs into `tests/fuzz/corpus/TARGET/` once it is mended.
"""

import argparse
import sys
import time
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, Phase, given, seed, settings

from support.bending import bent
from support.fuzzing import TARGETS, close, corpus

ARTEFACTS = Path(__file__).parents[2] / "artefacts" / "fuzz"
ROUND = 500
"""Cases of a target before the next one has its turn."""


def main() -> int:
    said = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    said.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all, unless some are named")
    said.add_argument("--minutes", type=float, default=10.0)
    chosen = said.parse_args()
    names, until, cases, harm = chosen.targets or list(TARGETS), time.monotonic() + chosen.minutes * 60, 0, 0
    number = time.time_ns()
    while time.monotonic() < until:
        for name in names:
            number, cases = number + 1, cases + ROUND
            harm += not _survived(name, number)
        print(f"{cases} cases, {time.process_time():.0f} s of CPU, {harm} did harm", flush=True)
    close()
    return 1 if harm else 0


def _survived(name: str, number: int) -> bool:
    """Whether a target takes a round of inputs; the smallest that it does not take is kept."""
    last = b""

    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(bent([each.read_bytes() for each in corpus(name)]))
    def thrown(data: bytes) -> None:
        nonlocal last
        last = data
        TARGETS[name](data)

    try:
        thrown()
    except Exception as error:
        kept = ARTEFACTS / name / sha256(last).hexdigest()[:16]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(last)
        print(f"{name}: {type(error).__name__}: {str(error)[:300]} (kept as {kept})", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
