"""Posts one body to a receiver."""

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from sagascope_collector.alerting.rules import Receiver

MAX_REDIRECTS: Final = 3

ID_HEADER: Final = "Idempotency-Key"
"""The same for every attempt to deliver one notification."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the receiver's address, which may be a secret


class NotDelivered(Exception):
    """A notification was not delivered. The text says why, and never contains the address or the token."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final
        """Whether another attempt would fail for the same reason."""


class Sender:
    """Posts to receivers. Safe to share between threads."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment` holds the tokens that receivers name."""
        self._environment = environment
        self._http = httpx.Client(follow_redirects=False, headers={"User-Agent": "sagascope"}, trust_env=False)

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def send(self, receiver: Receiver, body: Any, id_: str) -> None:
        """Posts a body as JSON; when this returns, the receiver has accepted it.

        Raises:
            NotDelivered: it has not, as far as is known.
        """
        url = receiver.url
        for _ in range(MAX_REDIRECTS):
            response = self._post(receiver, url, body, id_)
            if response.is_success:
                return
            if response.status_code not in (httpx.codes.TEMPORARY_REDIRECT, httpx.codes.PERMANENT_REDIRECT):
                raise _refused(response)
            url = _redirect_target(url, response)
        raise NotDelivered(f"it was redirected {MAX_REDIRECTS} times")

    def _post(self, receiver: Receiver, url: str, body: Any, id_: str) -> httpx.Response:
        headers = {ID_HEADER: id_}
        if receiver.token_env:
            headers["Authorization"] = f"Bearer {self._token(receiver.token_env)}"
        try:
            return self._http.post(url, json=body, headers=headers, timeout=receiver.timeout)
        except httpx.TimeoutException:
            raise NotDelivered(f"it did not answer within {receiver.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise NotDelivered(f"it could not be reached ({type(error).__name__})") from None

    def _token(self, name: str) -> str:
        token = self._environment.get(name, "").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise NotDelivered(f"the variable {name} holds no token")
        return token


def _redirect_target(url: str, response: httpx.Response) -> str:
    """Returns where a redirect leads, if it stays on the host and does not leave encryption."""
    target = str(httpx.URL(url).join(response.headers.get("Location", "")))
    before, after = urlsplit(url), urlsplit(target)
    if before.netloc != after.netloc or (before.scheme, after.scheme) == ("https", "http"):
        raise NotDelivered("it redirects to another host: set that one as its address", is_final=True)
    return target


def _refused(response: httpx.Response) -> NotDelivered:
    status = response.status_code
    if response.is_redirect:
        return NotDelivered(f"it answered {status}, a redirect that drops the body of a POST", is_final=True)
    is_temporary = status in (408, 425, 429) or response.is_server_error
    return NotDelivered(f"it answered {status}", is_final=not is_temporary)
