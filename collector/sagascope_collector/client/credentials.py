"""Credentials of a client: a bearer token, a client certificate, and the CA certificates that it trusts."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sagascope_collector.errors import BadValue

TOKEN: str = "SAGASCOPE_TOKEN"  # noqa: S105  # the name of the variable
FILES: Mapping[str, str] = {
    "token_file": "SAGASCOPE_TOKEN_FILE",
    "ca_file": "SAGASCOPE_CA_FILE",
    "client_cert": "SAGASCOPE_CLIENT_CERT",
    "client_key": "SAGASCOPE_CLIENT_KEY",
}
"""The environment variable of each file."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Names the files of the credentials. They are read when needed. A token is never a command-line argument.

    Arguments of a process are visible to other users of the machine.
    """

    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Takes precedence over `token`."""
    ca_file: Path | None = None
    """CA certificates to trust, in place of the system's."""
    client_cert: Path | None = None
    client_key: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **files: Path | None) -> Self:
        """Returns the credentials that the environment names; `files` take precedence where they are given."""
        named = {name: environment.get(variable) for name, variable in FILES.items()}
        chosen = {name: files.get(name) or (Path(path) if path else None) for name, path in named.items()}
        return cls(token=environment.get(TOKEN) or None, **chosen)

    def environment(self) -> dict[str, str]:
        """Returns the environment variables that give another process the same credentials."""
        return {variable: str(path) for name, variable in FILES.items() if (path := getattr(self, name))}

    def headers(self) -> dict[str, str]:
        """Returns the headers to send with every call.

        Raises:
            BadValue: the file cannot be read, or holds no token.
        """
        token = self._read_token() if self.token_file else self.token
        if token is None:
            return {}
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise BadValue(f"{self.token_file or TOKEN} does not contain a token: one word in ASCII.")
        return {"Authorization": f"Bearer {token}"}

    def tls(self) -> ssl.SSLContext | bool:
        """Returns the TLS context; True: the system's defaults.

        Raises:
            BadValue: a file cannot be read, or the certificate and key do not match.
        """
        if not (self.ca_file or self.client_cert or self.client_key):
            return True
        if bool(self.client_cert) != bool(self.client_key):
            raise BadValue("A client certificate needs both --client-cert and --client-key.")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.client_cert and self.client_key:
                context.load_cert_chain(self.client_cert, self.client_key, password="")
        except OSError as error:
            names = ", ".join(str(each) for each in (self.ca_file, self.client_cert, self.client_key) if each)
            raise BadValue(f"The certificates cannot be used ({names}): {error.strerror or error}.") from error
        return context

    def _read_token(self) -> str:
        assert self.token_file  # noqa: S101  # asked for only then
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadValue(f"The token cannot be read from {self.token_file}: {error}.") from error
