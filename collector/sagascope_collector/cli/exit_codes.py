"""Exit codes of commands, and the mapping of errors to them."""

from collections.abc import Mapping

from sagascope_collector import client, errors, safe_text

DONE: int = 0
"""The command succeeded; also if no action is required."""

NOT_FOUND: int = 1
"""The requested object is unknown."""

NOT_DONE: int = 2
"""A usage error, or the collector cannot be reached or cannot run."""

STATUS: Mapping[type[Exception], int] = {
    client.NotFound: NOT_FOUND,
    client.ClientError: NOT_DONE,
    errors.NotFound: NOT_FOUND,
    errors.SagascopeError: NOT_DONE,
}
"""The exit code of each error; other classes have that of their nearest base class."""


def status_of(error: Exception) -> int | None:
    """Returns the exit code of an error; None for an unexpected one."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def sentence(error: Exception) -> str:
    """Returns the message for an error, with a hint where one is known."""
    text = safe_text.lines(str(error))
    if isinstance(error, client.TokenNeeded):
        return f"{text}\nName the token's file with --token-file, or set SAGASCOPE_TOKEN."
    if isinstance(error, client.Untrusted):
        return f"{text}\nSet the CA with --ca-file, and a client certificate with --client-cert and --client-key."
    if isinstance(error, client.CollectorUnreachable):
        return f"{text}\nStart a collector with `sagascope serve`, or set another URL with --url or SAGASCOPE_URL."
    return text
