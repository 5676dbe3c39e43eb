"""Certificates for tests: a root, and what it has signed for a server and a client."""

import subprocess
from pathlib import Path
from shutil import which

import pytest

_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


def make_certificates(folder: Path) -> Path:
    """``ca``, ``server`` and ``client``, each ``.pem`` and ``.key``, in this folder; without openssl: skip."""
    if not which("openssl"):
        pytest.skip("openssl, which makes the certificates, is not installed")
    _openssl(folder, f"req -x509 {_NEW_KEY} -keyout ca.key -out ca.pem -subj /CN=ca")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        _openssl(folder, f"req -new {_NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        signed_by = "-CA ca.pem -CAkey ca.key -CAcreateserial"
        _openssl(folder, f"x509 -req -in {name}.csr {signed_by} -out {name}.pem -extfile names")
    return folder


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
