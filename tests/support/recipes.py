"""The files that a document shows, written to a folder and run as a reader would run them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from support.receiver import wait_for

DOCS = Path(__file__).parents[2] / "docs"
FILE = re.compile(r"```(?:python|ini|js|go|java)\n(?:#|//) (?P<name>[\w.]+)\n(?P<text>.*?)```", re.DOTALL)


def write_files(document: str, folder: Path, *names: str) -> None:
    """Writes files of a document: code blocks whose first line is a comment with the name of the file."""
    files = {found["name"]: found["text"] for found in FILE.finditer((DOCS / document).read_text())}
    for name in names:
        (folder / name).write_text(files[name])


def imported(document: str, folder: Path, name: str) -> Any:
    """Writes the file `name` of a document, and returns it as a module of this process."""
    write_files(document, folder, f"{name}.py")
    spec = spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(folder: Path, endpoint: str, **variables: str) -> dict[str, str]:
    """Returns the variables of a process that imports the files in `folder` and sends to `endpoint`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SAGASCOPE_"))}
    path = os.pathsep.join([str(folder), *sys.path])
    return {**inherited, "PYTHONPATH": path, "SAGASCOPE_ENDPOINT": endpoint, **variables}


def run_python(folder: Path, endpoint: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in `folder` to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(folder, endpoint, **variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


@dataclass
class Program:
    """A process that runs, and the file of its output."""

    process: subprocess.Popen[bytes]
    log: Path

    def matching(self, pattern: str) -> str:
        """Waits for output that matches, and returns the first group."""

        def found() -> str | None:
            match = re.search(pattern, self.log.read_text(errors="replace"))
            assert match or self.process.poll() is None, self.log.read_text(errors="replace")
            return match[1] if match else None

        return str(wait_for(found, f"no {pattern!r}"))


@contextmanager
def running(folder: Path, endpoint: str, *arguments: str, **variables: str) -> Iterator[Program]:
    """A process of Python in `folder`, ended with SIGTERM at the end of the block."""
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment(folder, endpoint, **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Program(process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
