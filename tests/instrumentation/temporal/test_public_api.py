"""The public names of the integration, and its error without temporalio."""

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


def test_missing_extra_names_the_install_command() -> None:
    process = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert 'pip install "sagascope[temporal]"' in process.stdout


def test_public_names() -> None:
    pytest.importorskip("temporalio", reason="temporalio is not installed")
    from sagascope.integrations import temporal

    assert temporal.__all__ == ["SagascopePlugin", "WorkflowDescription", "compensates"]
