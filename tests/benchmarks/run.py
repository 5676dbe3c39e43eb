"""`make bench`: run the benchmarks, all or those that are named, and print what they measured.

    make bench                      all
    make bench ARGS="ingest"        one

Each benchmark is a module of this folder with a `main()`. None of them is a test, and none asserts a time.
"""

import importlib
import platform
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"run", "__init__"})


def main(wanted: list[str]) -> int:
    """Run them one after the other; a name that is not there is said, with those that are."""
    unknown = set(wanted) - set(names())
    if unknown:
        print(f"No benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}")
    for name in wanted or names():
        print(f"\n== {name}", flush=True)
        importlib.import_module(name).main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
