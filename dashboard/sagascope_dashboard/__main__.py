"""``python -m sagascope_dashboard``: serve the dashboard."""

import argparse
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

from sagascope_dashboard.launch import (
    DEFAULT_ADDRESS,
    HOSTS_VARIABLE,
    LINKS_VARIABLE,
    URL_VARIABLE,
    command,
    environment,
)
from sagascope_dashboard.urls import templates

DEFAULT_COLLECTOR = "http://127.0.0.1:4319"


def main(arguments: list[str] | None = None) -> int:
    """Serves until stopped; returns Streamlit's exit status, or 2 if it cannot start."""
    options = _parser().parse_args(arguments)
    host, _, port = options.address.rpartition(":")
    if not host or not port.isdecimal():
        return _fail(f"{options.address!r} is not an address; write it like {DEFAULT_ADDRESS}.")
    if importlib.util.find_spec("streamlit") is None:
        return _fail('The dashboard needs Streamlit: pip install "sagascope[dashboard]"')
    if _is_port_taken(host.strip("[]"), int(port)):
        return _fail(f"Port {port} at {host} (dashboard) is taken; choose another with --address HOST:PORT.")
    try:
        templates(links := options.link or os.environ.get(LINKS_VARIABLE, "").split())
    except ValueError as error:
        return _fail(str(error))
    hosts = [host.strip("[]"), *(options.allowed_host or os.environ.get(HOSTS_VARIABLE, "").split())]
    return _serve(host.strip("[]"), int(port), environment(options.url, links, hosts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sagascope_dashboard", description="Serve Sagascope's dashboard.")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        default=os.environ.get("SAGASCOPE_ADDRESS", DEFAULT_ADDRESS),
        help=f"where the dashboard answers (default {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE, DEFAULT_COLLECTOR),
        help=f"the collector's API (default {DEFAULT_COLLECTOR})",
    )
    parser.add_argument(
        "--link",
        metavar="NAME=URL",
        action="append",
        help="another tool that shows a transaction, for example Jaeger=https://jaeger.example.com/trace/{trace_id}",
    )
    parser.add_argument(
        "--allowed-host",
        metavar="NAME",
        action="append",
        help="name by which the dashboard may be called, beside localhost, IP addresses and its own address",
    )
    return parser


def _is_port_taken(host: str, port: int) -> bool:
    """Returns whether the address cannot be bound now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _serve(host: str, port: int, variables: Mapping[str, str]) -> int:
    """Becomes the Streamlit process where the system can, so that signals reach it; else waits for it."""
    words, environ = command(host, port), {**os.environ, **variables}
    if os.name == "posix":
        os.execve(words[0], words, environ)  # noqa: S606 - a fixed command, no shell
    return subprocess.call(words, env=environ)


def _fail(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
