"""Java for tests: OpenTelemetry's jars, fetched once by Maven for all."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".maven"
VERSION = "1.68.0"
ARTIFACTS = ("opentelemetry-sdk", "opentelemetry-exporter-otlp")
FETCH_WITHIN = 300.0

OFFLINE = ("UnknownHost", "Unknown host", "Connection refused", "timed out", "Could not transfer", "Connect to ")
"""What Maven says where its repository cannot be reached; any other failure is one of ours."""


def jars() -> Path:
    """The folder of the jars, fetched if they are not there; one process fetches, others wait.

    Skips the test where there is no JDK or no Maven, and where Maven reaches no repository.
    """
    for program in ("java", "javac", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")
    project = _project()
    folder = CACHE / hashlib.sha256(project.encode()).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "fetched").exists():
            _fetch(folder, project)
    return folder / "jars"


def _project() -> str:
    dependencies = "".join(
        f"<dependency><groupId>io.opentelemetry</groupId><artifactId>{name}</artifactId><version>{VERSION}</version></dependency>"
        for name in ARTIFACTS
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>jars</artifactId>"
        f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
    )


def _fetch(folder: Path, project: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "pom.xml").write_text(project)
    command = ["mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'jars'}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_WITHIN)
    if done.returncode and any(word in done.stdout for word in OFFLINE):
        pytest.skip(f"Maven reaches no repository: {done.stdout[-300:]}")
    assert done.returncode == 0, done.stdout
    (folder / "fetched").touch()
