import pytest

from sagascope_collector import client
from sagascope_collector.client import schemas
from sagascope_dashboard.components.error_states import error_notice

URL = "http://127.0.0.1:4319"
PROBLEM = schemas.Problem(
    type="about:blank", title="Not found", status=404, detail="No saga payment 1 was ever received."
)


@pytest.mark.parametrize(
    ("error", "title", "is_retryable"),
    [
        (client.CollectorUnreachable(URL, "nobody there"), "The collector does not answer", True),
        (client.Timeout(URL, "5 s"), "The collector is slow to answer", True),
        (client.Unavailable(URL, "busy"), "The collector cannot answer now", True),
        (client.NotSagascope(URL, "a teapot"), "This is not a Sagascope collector", True),
        (client.NotFound(URL, PROBLEM), "No such transaction", True),
        (client.TokenNeeded(URL, PROBLEM), "The collector asks for a token", True),
        (client.CredentialsUnusable(URL, "no file"), "The token or the certificate cannot be read", True),
        (client.Untrusted(URL, "self-signed"), "The collector is not trusted", True),
        (client.Refused(URL, PROBLEM), "The collector refused the call", False),
        (client.ClientError(URL, "something new"), "No answer", True),
    ],
)
def test_every_client_error_has_its_own_notice(error: client.ClientError, title: str, is_retryable: bool) -> None:
    said = error_notice(error)
    assert (said.title, said.is_retryable) == (title, is_retryable)
    assert said.text == str(error)


def test_every_error_of_the_client_is_known_by_its_own_kind() -> None:
    kinds = {kind for kind in vars(client).values() if isinstance(kind, type) and issubclass(kind, client.ClientError)}
    from sagascope_dashboard.components.error_states import _NOTICES

    assert kinds - {client.ClientError} == set(_NOTICES)
