"""Install Debian's packages that tests need, where they are missing and this process may; else say what to run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Need:
    """A package (the first that can be installed), how to see that it is here, and what cannot be tested without it."""

    packages: tuple[str, ...]
    is_here: Callable[[], bool]
    tests: str


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""Commands, the best first: the shell has no tabs and menus to draw, and opens a page at half the cost."""


def has_browser() -> bool:
    return any(map(shutil.which, BROWSERS))


def has_postgres() -> bool:
    return bool(shutil.which("initdb")) or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def has_rabbitmq() -> bool:
    return Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists()


NEEDS = (
    Need(("chromium-headless-shell", "chromium"), has_browser, "tests in a browser"),
    Need(("postgresql",), has_postgres, "tests with PostgreSQL"),
    Need(("rabbitmq-server",), has_rabbitmq, "tests with RabbitMQ"),
)

NO_START = Path("/usr/sbin/policy-rc.d")
"""While it is there, and leaves with status 101, no package starts a service."""

NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/sagascope-tests.conf")
"""Without it the package would start a server of its own."""


def main() -> None:
    """Leave with status 0 always: tests that cannot run say so by name and reason."""
    missing = [each for each in NEEDS if not each.is_here()]
    if not missing:
        return
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        for each in missing:
            package = each.packages[0]
            hint = f"sudo apt-get install {package}"
            print(f"No {package} here: {each.tests} will be skipped. To run them: {hint}", file=sys.stderr)
        return
    print(f"Installing {' and '.join(each.packages[0] for each in missing)} for the tests")
    if not has_postgres():
        NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_CLUSTER.write_text("create_main_cluster = false\n")
    _run("apt-get", "update", "-qq")
    with _without_services():
        for each in missing:
            any(_run("apt-get", "install", "-y", "-qq", "--no-install-recommends", name) for name in each.packages)


@contextmanager
def _without_services() -> Iterator[None]:
    """Keeps packages from starting the services that they bring."""
    is_ours = not NO_START.exists()
    if is_ours:
        NO_START.write_text("#!/bin/sh\nexit 101\n")
        NO_START.chmod(0o755)
    try:
        yield
    finally:
        if is_ours:
            NO_START.unlink()


def _run(*command: str) -> bool:
    """Returns whether the command succeeded."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}", file=sys.stderr)
    return not done.returncode


if __name__ == "__main__":
    main()
