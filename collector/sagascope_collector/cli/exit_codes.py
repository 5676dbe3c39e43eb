"""The exit status of every command. The one place where an error meets its number."""

from collections.abc import Mapping

from sagascope_collector import client, errors, safe_text

DONE: int = 0
"""Done; also when nothing was wrong with anything."""

NOT_FOUND: int = 1
"""What was asked for is not known."""

NOT_DONE: int = 2
"""The command was used wrongly, or the collector could not be reached, or cannot run."""

STATUS: Mapping[type[Exception], int] = {
    client.NotFound: NOT_FOUND,
    client.ClientError: NOT_DONE,
    errors.NotFound: NOT_FOUND,
    errors.SagascopeError: NOT_DONE,
}
"""The exit status of each error; a class that is not here has that of the nearest above."""


def status_of(error: Exception) -> int | None:
    """The exit status for an error; None for one that is not foreseen: a fault of ours."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def sentence(error: Exception) -> str:
    """What a person is told of an error, and what to do about it where that is known."""
    text = safe_text.lines(str(error))
    if isinstance(error, client.TokenNeeded):
        return f"{text}\nName the file that holds it with --token-file, or set SAGASCOPE_TOKEN."
    if isinstance(error, client.Untrusted):
        return (
            f"{text}\nName who signs it with --ca-file, and a certificate of yours with --client-cert and --client-key."
        )
    if isinstance(error, client.CollectorUnreachable):
        return f"{text}\nStart one with `sagascope serve`, or name another with --url (or SAGASCOPE_URL)."
    return text
