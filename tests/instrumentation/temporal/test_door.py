"""What the integration gives, and what it says where temporalio is not installed."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules["temporalio"] = None
import sagascope
try:
    import sagascope.integrations.temporal
except sagascope.MissingExtra as error:
    print(error)
"""


def test_a_missing_temporalio_is_told_with_what_to_install() -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert 'pip install "sagascope[temporal]"' in said.stdout


def test_the_door_is_small() -> None:
    pytest.importorskip("temporalio", reason="temporalio is not installed")
    from sagascope.integrations import temporal

    assert temporal.__all__ == ["About", "SagascopePlugin", "compensates"]
