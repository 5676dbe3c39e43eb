"""How the dashboard is started: one Streamlit process."""

import sys
from collections.abc import Sequence
from pathlib import Path

SERVER = Path(__file__).with_name("server.py")

DEFAULT_ADDRESS = "127.0.0.1:8501"
"""Where the dashboard answers unless told otherwise."""

URL_VARIABLE = "SAGASCOPE_URL"
"""The environment variable that says where the collector's API is."""

LINKS_VARIABLE = "SAGASCOPE_LINKS"
"""The environment variable with links to other tools, separated by blanks."""


def command(host: str, port: int) -> list[str]:
    """The words of a command that serves the dashboard at an address until it is stopped.

    Its other settings lie beside the app, in ``.streamlit/config.toml``. Nothing is sent home.
    """
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(SERVER), *flags]


def environment(url: str, links: Sequence[str] = ()) -> dict[str, str]:
    """What that command's environment must hold, beside what it inherits, to read one collector."""
    return {URL_VARIABLE: url, **({LINKS_VARIABLE: " ".join(links)} if links else {})}
