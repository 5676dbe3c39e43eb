"""Go, with which the tests build the Go sample and an OpenTelemetry Collector."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNAVAILABLE = (
    *("dial tcp", "no such host", "connection refused", "timeout", "proxyconnect"),
    *("403 Forbidden", "404 Not Found", "410 Gone", "429 Too Many", "502 Bad", "503 Service", "504 Gateway"),
)
"""What go says where it reaches no module proxy; any other failure is one of ours."""
BUILD_TIMEOUT_SECONDS = 500.0
FLAGS = "-mod=readonly -buildvcs=false '-gcflags=all=-N -l' '-ldflags=-s -w'"
"""Builds without optimizations and symbols take two thirds of the time. Equal flags let all commands share packages."""


def go(source: Path, *arguments: str) -> str:
    """Runs a command of go in a folder, and returns what it prints; skips the test where go cannot do its work."""
    if shutil.which("go") is None:
        pytest.skip("there is no go on this machine")
    environment = {**os.environ, "GOFLAGS": FLAGS, "CGO_ENABLED": "0"}
    command = ["go", *arguments]
    try:
        done = subprocess.run(
            command, cwd=source, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"go did not end within {BUILD_TIMEOUT_SECONDS:.0f} s")
    if done.returncode and any(word in done.stderr for word in UNAVAILABLE):
        pytest.skip(f"go reaches no module proxy: {done.stderr[-300:]}")
    if done.returncode and "requires go >=" in done.stderr:
        pytest.skip(f"this go is too old: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source: Path, program: Path) -> Path:
    """Builds the program of a folder."""
    go(source, "build", "-o", str(program), ".")
    return program
