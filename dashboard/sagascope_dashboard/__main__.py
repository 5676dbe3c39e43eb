"""``python -m sagascope_dashboard``: serve the dashboard."""

import argparse
import errno
import importlib.util
import os
import socket
import sys

from sagascope_collector.client import DEFAULT_URL
from sagascope_dashboard import DEFAULT_ADDRESS, HOSTS_VARIABLE, LINKS_VARIABLE, URL_VARIABLE, environment
from sagascope_dashboard.urls import parse_templates, split_templates

MAX_PORT = 65_535


def main(arguments: list[str] | None = None) -> int:
    """Serves until stopped; returns 0, or 2 if it cannot start."""
    options = _parser().parse_args(arguments)
    host, _, port = options.address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > MAX_PORT:
        return _fail(f"{options.address!r} is not an address; write it like {DEFAULT_ADDRESS}.")
    if importlib.util.find_spec("streamlit") is None:
        return _fail('The dashboard needs Streamlit: pip install "sagascope[dashboard]"')
    if error := _bind_error(host.strip("[]"), int(port)):
        return _fail(f"Port {port} at {host} (dashboard) {error}; choose another with --address HOST:PORT.")
    try:
        parse_templates(links := options.link or split_templates(os.environ.get(LINKS_VARIABLE, "")))
    except ValueError as error:
        return _fail(str(error))
    hosts = [host.strip("[]"), *(options.allowed_host or os.environ.get(HOSTS_VARIABLE, "").split())]
    os.environ.update(environment(options.url, links, hosts))
    from sagascope_dashboard.server import serve

    serve(host.strip("[]"), int(port))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sagascope_dashboard", description="Serve Sagascope's dashboard.")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        default=os.environ.get("SAGASCOPE_ADDRESS", DEFAULT_ADDRESS),
        help=f"where the dashboard answers (default {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--url", default=os.environ.get(URL_VARIABLE, DEFAULT_URL), help=f"the collector's API (default {DEFAULT_URL})"
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


def _bind_error(host: str, port: int) -> str | None:
    """Returns why the address cannot be bound now; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None


def _fail(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
