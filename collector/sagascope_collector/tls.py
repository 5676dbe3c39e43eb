"""Certificates for all three ports."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from sagascope_collector.errors import CannotStart


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with its key; with `client_ca`, clients must show a certificate which that has signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Make sure that the files can be used, before anything listens.

        Raises:
            CannotStart: one cannot be read, or they do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise CannotStart(f"The certificate {self.certificate} cannot be used: {error}.") from error

    def for_uvicorn(self) -> dict[str, Any]:
        """As uvicorn's settings."""
        asked = {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED} if self.client_ca else {}
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key), **asked}

    def for_grpc(self) -> grpc.ServerCredentials:
        """As grpc's credentials."""
        roots = self.client_ca.read_bytes() if self.client_ca else None
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


def tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """What the options say; None: nothing is encrypted.

    Raises:
        CannotStart: one is missing that belongs to the others, or they cannot be used.
    """
    if not (certificate or key or client_ca):
        return None
    if not (certificate and key):
        raise CannotStart("TLS needs both --tls-cert and --tls-key.")
    tls = Tls(certificate, key, client_ca)
    tls.check()
    return tls
