"""`sagascope demo` and `sagascope dashboard`: from the command to the program."""

import subprocess
import sys

import pytest


def sagascope(*words: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command, as if the package ``without`` were not installed."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(filter(None, [sys.argv.pop(1)])))\n"
        "from sagascope_collector.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, without, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("option", ["--headless", "--json", "--folder", "--otlp-grpc", "--otlp-http", "--api"])
def test_the_demo_says_what_can_be_set(option: str) -> None:
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
def test_what_is_missing_is_named_with_the_command_that_installs_it(words: tuple[str, ...], needed: str) -> None:
    done = sagascope(*words, without=needed)
    assert done.returncode == 2
    assert needed in done.stderr
    assert 'pip install "sagascope[all]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("demo", "--json"), "--json needs --headless"),
        (("demo", "--headless", "--api", "nowhere"), "'nowhere' is not HOST:PORT"),
        (("dashboard", "--address", "nowhere"), "'nowhere' is not an address"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], said: str) -> None:
    done = sagascope(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
