"""Node.js for tests: npm packages installed once for all, and processes of scripts."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.receiver import wait_for

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_services" / "node"
PACKAGES = (SAMPLE / "package.json", ROOT / "tests" / "node" / "package.json")
CACHE = ROOT / ".npm"

INSTALL_WITHIN = 300.0
END_WITHIN = 30.0
START_WITHIN = 30.0

OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT", "ERR_SOCKET_TIMEOUT")
"""What npm says where its registry cannot be reached; any other failure is one of ours."""


def dependencies() -> dict[str, str]:
    """What the sample and the tests need, with exact versions."""
    wanted: dict[str, str] = {}
    for path in PACKAGES:
        for name, version in json.loads(path.read_text())["dependencies"].items():
            assert wanted.setdefault(name, version) == version, f"{name} has two versions"
    return wanted


def node_modules() -> Path:
    """Where the packages are, installed if they are not; one process installs, others wait.

    Skips the test where there is no Node.js or npm, and where npm reaches no registry.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")
    wanted = json.dumps({"private": True, "dependencies": dependencies()}, indent=2)
    folder = CACHE / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            _install(folder, wanted)
    return folder / "node_modules"


def _install(folder: Path, wanted: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text(wanted)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_WITHIN)
    if done.returncode and any(word in done.stderr for word in OFFLINE):
        pytest.skip(f"npm reaches no registry: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    (folder / "installed").touch()


@dataclass(slots=True)
class Script:
    """A Node.js process, and the file that has what it prints."""

    process: subprocess.Popen[str]
    log: Path

    def printed(self) -> str:
        """All that it printed so far."""
        return self.log.read_text()

    def line(self, start: str) -> str:
        """Wait for a line with this start; what follows it."""

        def found() -> str | None:
            assert self.process.poll() is None or start in self.printed(), f"it ended first:\n{self.printed()}"
            lines = [each for each in self.printed().splitlines() if each.startswith(start)]
            return lines[0].removeprefix(start).strip() if lines else None

        return str(wait_for(found, f"no line {start!r}", START_WITHIN))

    def ended(self) -> int:
        """Wait until it ends by itself; its status."""
        return self.process.wait(END_WITHIN)


@contextmanager
def running(
    script: Path, folder: Path, *arguments: str, modules: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Script]:
    """A script with these packages, killed at the end if it has not ended."""
    log = folder / f"{script.stem}.log"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SAGASCOPE_"))}
    with log.open("a") as output:
        process = subprocess.Popen(
            ["node", str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env={**variables, "NODE_PATH": str(modules), **(environment or {})},
        )
    try:
        yield Script(process, log)
    finally:
        process.kill()
        process.communicate()
