"""The notices for errors of the client: no answer, or no fresh one."""

from dataclasses import dataclass

from sagascope_collector.client import (
    ClientError,
    CollectorUnreachable,
    CredentialsUnusable,
    NotFound,
    NotSagascope,
    Refused,
    Timeout,
    TokenNeeded,
    Unavailable,
    Untrusted,
)
from sagascope_dashboard.format import line


@dataclass(frozen=True, slots=True)
class ErrorNotice:
    """Why there is nothing, or nothing fresh, to show, and what the reader can do."""

    title: str
    text: str
    hint: str
    passing: bool
    """Whether the same call may succeed later; the screen then keeps trying."""


_KINDS: dict[type[ClientError], tuple[str, str, bool]] = {
    CollectorUnreachable: ("The collector does not answer", "Start it with: sagascope serve", True),
    Untrusted: (
        "The collector is not trusted",
        "Start the dashboard with --ca-file, and with --client-cert and --client-key where it wants to see yours.",
        True,
    ),
    TokenNeeded: (
        "The collector asks for a token",
        "Start the dashboard with --token-file or SAGASCOPE_TOKEN: the token that readers need.",
        True,
    ),
    CredentialsUnusable: (
        "The token or the certificate cannot be read",
        "The dashboard was started with it; once the file is right this page goes on.",
        True,
    ),
    Timeout: ("The collector is slow to answer", "It took the call; the next try may succeed.", True),
    Unavailable: ("The collector cannot answer now", "It says so itself; the next try may succeed.", True),
    NotSagascope: (
        "This is not a Sagascope collector",
        "The dashboard reads the address in SAGASCOPE_URL; both must be of the same version.",
        True,
    ),
    NotFound: ("No such {thing}", "It may not have been received yet, or the address may be mistyped.", True),
    Refused: ("The collector refused the call", "Something in the address of this page cannot be meant.", False),
}


def error_notice(error: ClientError, thing: str = "transaction") -> ErrorNotice:
    """Returns the notice for an error when a `thing` was read. The most specific known class decides."""
    for kind in type(error).__mro__:
        if kind in _KINDS:
            title, hint, passing = _KINDS[kind]
            return ErrorNotice(title.format(thing=thing), line(str(error)), hint, passing)
    return ErrorNotice("No answer", line(str(error)), "The next try may succeed.", True)
