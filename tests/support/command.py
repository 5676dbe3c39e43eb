"""The ``sagascope`` command as a script would run it: a process of its own, 80 columns wide."""

import os
import subprocess
import sys

from support import preloaded


def run(*words: str, url: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; `url` goes in by the environment."""
    named = {"SAGASCOPE_URL": url} if url else {}
    variables = {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **named, **environment}
    if preloaded.is_possible(variables):
        return preloaded.run("sagascope_collector", *words, environment=variables)
    return subprocess.run(
        [sys.executable, "-m", "sagascope_collector", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
    )
