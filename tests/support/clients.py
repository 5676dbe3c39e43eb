"""Environments for third-party clients: made once, and kept in `.clients/` of the project."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / ".clients"
INSTALL_WITHIN = 300


def python_with(*requirements: str) -> Path:
    """An interpreter that has these packages; the test is skipped where they cannot be installed."""
    named = sha256(" ".join([sys.version, *sorted(requirements)]).encode()).hexdigest()[:12]
    home = FOLDER / named
    python, done = home / "bin" / "python", home / ".installed"
    if not done.exists():
        FOLDER.mkdir(exist_ok=True)
        with (FOLDER / f"{named}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                _install(home, requirements)
                done.touch()
    return python


def _install(home: Path, requirements: tuple[str, ...]) -> None:
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(home)], [*pip, *requirements]):
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{', '.join(requirements)} could not be installed within {INSTALL_WITHIN} s")
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {reason}")


@contextmanager
def running(*command: str | Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose output goes to a file, killed at the end if it still runs."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    with log.open("a") as output:
        process = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
