"""The dashboard: what needs attention, and each saga in full, in Streamlit."""

from collections.abc import Sequence

DEFAULT_ADDRESS = "127.0.0.1:8501"
"""The default address of the dashboard."""

URL_VARIABLE = "SAGASCOPE_URL"
"""The environment variable with the URL of the collector's API."""

LINKS_VARIABLE = "SAGASCOPE_LINKS"
"""The environment variable with links to other tools, one a line, or separated by blanks."""

HOSTS_VARIABLE = "SAGASCOPE_ALLOWED_HOST"
"""The environment variable with further names by which the dashboard may be called, separated by blanks."""

LISTENING_VARIABLE = "_SAGASCOPE_DASHBOARD_HOST"
"""The environment variable in which a process of the dashboard notes the address at which it listens."""


def environment(url: str, links: Sequence[str] = (), hosts: Sequence[str] = ()) -> dict[str, str]:
    """Returns the variables with which the dashboard reads one collector."""
    # A link's name may hold blanks, so that each link ends its line.
    given = {LINKS_VARIABLE: "".join(f"{link}\n" for link in links), HOSTS_VARIABLE: " ".join(hosts)}
    return {URL_VARIABLE: url, **{name: value for name, value in given.items() if value}}
