"""`sagascope demo` and `sagascope dashboard`: from the command line to the program."""

import subprocess
import sys

import pytest


def sagascope(*words: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command as if the package `without` were not installed."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(filter(None, [sys.argv.pop(1)])))\n"
        "from sagascope_collector.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, without, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("option", ["--headless", "--json", "--folder", "--otlp-grpc", "--otlp-http", "--api"])
def test_demo_help_lists_its_options(option: str) -> None:
    assert option in sagascope("demo", "--help").stdout


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("dashboard",), "streamlit"),
        (("demo",), "streamlit"),
        (("demo", "--headless"), "starlette"),
        (("demo", "--headless"), "opentelemetry.sdk"),
    ],
)
def test_missing_package_is_named_with_the_install_command(words: tuple[str, ...], needed: str) -> None:
    done = sagascope(*words, without=needed)
    assert done.returncode == 2
    assert needed in done.stderr
    assert 'pip install "sagascope[all]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("demo", "--json"), "--json needs --headless"),
        (("demo", "--headless", "--api", "nowhere"), "'nowhere' is not HOST:PORT"),
        (("dashboard", "--address", "nowhere"), "'nowhere' is not an address"),
    ],
)
def test_invalid_options_are_refused(words: tuple[str, ...], message: str) -> None:
    done = sagascope(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
