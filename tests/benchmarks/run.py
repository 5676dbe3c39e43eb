"""`make bench`: run the benchmarks, all or those that are named, and print what they measured.

    make bench                      all
    make bench ARGS="ingest"        one
    make bench ARGS="ingest --write"    and put the figures into docs/benchmarks.md

Each benchmark is a module of this folder with a `main()`, which prints its figures or returns a table of them; only a
table can be written. None of them is a test, and none asserts a time.
"""

import importlib
import platform
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"run", "report"})


def main(wanted: list[str]) -> int:
    """Run them one after the other; a name that is not there is said, with those that are."""
    write = "--write" in wanted
    wanted = [each.replace("-", "_") for each in wanted if each != "--write"]
    unknown = set(wanted) - set(names())
    if unknown:
        print(f"No benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}")
    for name in wanted or names():
        print(f"\n== {name}", flush=True)
        measured = importlib.import_module(name).main()
        if measured:
            print(measured, flush=True)
        if measured and write:
            importlib.import_module("report").write(name, measured)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
