"""The command and environment that start the dashboard: one Streamlit process."""

import sys
from collections.abc import Sequence
from pathlib import Path

SERVER = Path(__file__).with_name("server.py")

DEFAULT_ADDRESS = "127.0.0.1:8501"
"""The default address of the dashboard."""

URL_VARIABLE = "SAGASCOPE_URL"
"""The environment variable with the URL of the collector's API."""

LINKS_VARIABLE = "SAGASCOPE_LINKS"
"""The environment variable with links to other tools, separated by blanks."""

HOSTS_VARIABLE = "SAGASCOPE_ALLOWED_HOST"
"""The environment variable with further names by which the dashboard may be called, separated by blanks."""


def command(host: str, port: int) -> list[str]:
    """Returns the command that serves the dashboard at an address until it is stopped.

    Its other settings are in ``.streamlit/config.toml`` beside the app. Usage statistics are off.
    """
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(SERVER), *flags]


def environment(url: str, links: Sequence[str] = (), hosts: Sequence[str] = ()) -> dict[str, str]:
    """Returns the variables that the command needs, in addition to those it inherits, to read one collector."""
    lists = {LINKS_VARIABLE: links, HOSTS_VARIABLE: hosts}
    return {URL_VARIABLE: url, **{name: " ".join(values) for name, values in lists.items() if values}}
