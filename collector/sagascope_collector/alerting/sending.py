"""Carries a body to a webhook, once."""

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from sagascope_collector.alerting.rules import Webhook

MOST_HOPS: Final = 3

ID_HEADER: Final = "Idempotency-Key"
"""The same for every try of one notification."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the webhook's address, which may be a secret


class NotDelivered(Exception):
    """It did not arrive. The text says why, and never holds the address or the token."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final
        """Whether another try would fail just so."""


class Sender:
    """Calls webhooks. Safe to share between threads."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment` holds the tokens that webhooks name."""
        self._environment = environment
        self._http = httpx.Client(follow_redirects=False, headers={"User-Agent": "sagascope"}, trust_env=False)

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def send(self, webhook: Webhook, body: Any, id_: str) -> None:
        """Post a body as JSON; it arrived when this returns.

        Raises:
            NotDelivered: it did not, as far as is known.
        """
        url = webhook.url
        for _ in range(MOST_HOPS):
            answer = self._post(webhook, url, body, id_)
            if answer.is_success:
                return
            if answer.status_code not in (httpx.codes.TEMPORARY_REDIRECT, httpx.codes.PERMANENT_REDIRECT):
                raise _refused(answer)
            url = _next(url, answer)
        raise NotDelivered(f"it was redirected {MOST_HOPS} times")

    def _post(self, webhook: Webhook, url: str, body: Any, id_: str) -> httpx.Response:
        headers = {ID_HEADER: id_}
        if webhook.token_env:
            headers["Authorization"] = f"Bearer {self._token(webhook.token_env)}"
        try:
            return self._http.post(url, json=body, headers=headers, timeout=webhook.timeout)
        except httpx.TimeoutException:
            raise NotDelivered(f"it did not answer within {webhook.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise NotDelivered(f"it could not be reached ({type(error).__name__})") from None

    def _token(self, name: str) -> str:
        token = self._environment.get(name, "").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise NotDelivered(f"the variable {name} holds no token")
        return token


def _next(url: str, answer: httpx.Response) -> str:
    """Where a redirect leads, if it stays on that host and does not leave encryption."""
    target = str(httpx.URL(url).join(answer.headers.get("Location", "")))
    before, after = urlsplit(url), urlsplit(target)
    if before.netloc != after.netloc or (before.scheme, after.scheme) == ("https", "http"):
        raise NotDelivered("it redirects to another place: set that one as its address", is_final=True)
    return target


def _refused(answer: httpx.Response) -> NotDelivered:
    status = answer.status_code
    if answer.is_redirect:
        return NotDelivered(f"it answered {status}, a redirect that a POST does not survive", is_final=True)
    passing = status in (408, 425, 429) or answer.is_server_error
    return NotDelivered(f"it answered {status}", is_final=not passing)
