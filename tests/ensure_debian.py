"""Install Debian's packages that tests need, where they are missing and this process may; else say what to run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Need:
    """A package, how to see that it is here, and what cannot be tested without it."""

    package: str
    is_here: Callable[[], bool]
    tests: str


def has_browser() -> bool:
    return any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


def has_postgres() -> bool:
    return bool(shutil.which("initdb")) or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


NEEDS = (Need("chromium", has_browser, "tests in a browser"), Need("postgresql", has_postgres, "tests with PostgreSQL"))

NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/sagascope-tests.conf")
"""Without it the package would start a server of its own."""


def main() -> None:
    """Leave with status 0 always: tests that cannot run say so by name and reason."""
    missing = [each for each in NEEDS if not each.is_here()]
    if not missing:
        return
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        for each in missing:
            hint = f"sudo apt-get install {each.package}"
            print(f"No {each.package} here: {each.tests} will be skipped. To run them: {hint}", file=sys.stderr)
        return
    names = [each.package for each in missing]
    print(f"Installing {' and '.join(names)} for the tests")
    if "postgresql" in names:
        NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_CLUSTER.write_text("create_main_cluster = false\n")
    _run("apt-get", "update", "-qq")
    for name in names:
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", name)


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}", file=sys.stderr)


if __name__ == "__main__":
    main()
