"""A small provider of logins by OpenID Connect, which checks what it is asked and can be made to lie."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

jwt = pytest.importorskip("joserfc.jwt", reason="Authlib, which logs in, is not installed")
jwk = pytest.importorskip("joserfc.jwk", reason="Authlib, which logs in, is not installed")

CLIENT, SECRET = "sagascope", "of a test"


@dataclass
class Provider:
    """One person, who is always let in unless `denies`; `claims` overrides what is said of them."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    denies: bool = False
    away: bool = False
    """Whether its discovery endpoint fails."""
    protocol_errors: list[str] = field(default_factory=list)
    """What a client did that the protocol does not allow."""
    left: int = 0
    """Number of logouts."""
    asked: dict[str, str] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: jwk.RSAKey.generate_key(2048, {"kid": "of a test"}))

    def discovery(self) -> dict[str, Any]:
        """Where everything is."""
        places = {"authorization": "authorize", "token": "token", "end_session": "leave"}
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **{f"{name}_endpoint": f"{self.url}/{path}" for name, path in places.items()},
        }

    def authorized(self, asked: dict[str, str]) -> str:
        """Where the browser goes after the person was asked."""
        self.asked = asked
        self._check("who asks", asked["client_id"] == CLIENT and "openid" in asked["scope"].split())
        said = {"error": "access_denied"} if self.denies else {"code": "of a test"}
        return f"{asked['redirect_uri']}?{urlencode(said | {'state': asked['state']})}"

    def token(self, asked: dict[str, str], authorization: str) -> dict[str, Any]:
        """What the code is worth, to the client that asked for it."""
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        proof = base64.urlsafe_b64encode(hashlib.sha256(asked["code_verifier"].encode()).digest()).decode().rstrip("=")
        self._check("secret", authorization == f"Basic {basic}")
        self._check("code", asked["code"] == "of a test" and asked["redirect_uri"] == self.asked["redirect_uri"])
        self._check("proof", proof == self.asked["code_challenge"])
        return {"access_token": "of a test", "token_type": "Bearer", "expires_in": 300, "id_token": self._identity()}

    def keys(self) -> dict[str, Any]:
        """What its signatures are checked with."""
        return {"keys": [self.key.as_dict(private=False, alg="RS256", use="sig")]}

    def _identity(self) -> str:
        now = int(time.time())
        said = {"iss": self.url, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self.asked["nonce"]}
        said |= {"name": "Ada Lovelace", "email": "ada@example.com"} | self.claims
        return str(jwt.encode({"alg": "RS256", "kid": "of a test"}, said, self.key))

    def _check(self, what: str, right: bool) -> None:
        if not right:
            self.protocol_errors.append(what)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider on a free port, closed at the end."""
    known = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            words = {name: values[0] for name, values in parse_qs(asked.query).items()}
            if asked.path == "/authorize":
                self._lead(known.authorized(words))
            elif asked.path == "/leave":
                known.left += 1
                self._lead(words["post_logout_redirect_uri"])
            elif known.away:
                self.send_error(503)
            else:
                self._respond(known.keys() if asked.path == "/keys" else known.discovery())

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            words = {name: values[0] for name, values in parse_qs(raw).items()}
            self._respond(known.token(words, self.headers.get("Authorization", "")))

        def _lead(self, to: str) -> None:
            self.send_response(302)
            self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _respond(self, what: dict[str, Any]) -> None:
            body = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
