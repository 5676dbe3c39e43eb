"""Commands against collectors that ask for tokens and certificates."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagascope_collector.client import Client, Credentials, CredentialsUnusable, TokenNeeded, Untrusted
from sagascope_collector.errors import BadValue
from support.certificates import make_certificates
from support.collector import RunningCollector, running_collector
from support.command import run

TOKEN = "read-token-0123456789"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningCollector]:
    with running_collector(environment={"SAGASCOPE_READ_TOKEN": TOKEN}) as collector:
        yield collector


@pytest.mark.parametrize("words", [("triage", "--json"), ("find", "8492"), ("show", "8492")])
def test_without_the_token_commands_report_what_is_needed(guarded: RunningCollector, words: tuple[str, ...]) -> None:
    done = run(*words, url=guarded.api)
    assert done.returncode == 2
    assert "requires a bearer token" in done.stderr
    assert "--token-file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_comes_from_a_file_or_the_environment(guarded: RunningCollector, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    ways = (
        run("triage", "--token-file", str(tmp_path / "token"), url=guarded.api),
        run("triage", url=guarded.api, SAGASCOPE_TOKEN=TOKEN),
        run("triage", url=guarded.api, SAGASCOPE_TOKEN_FILE=str(tmp_path / "token"), SAGASCOPE_TOKEN="wrong"),
    )
    assert [each.returncode for each in ways] == [0, 0, 0]


@pytest.mark.parametrize("content", ["", "two words", "n\u00f6", "line\nline"])
def test_a_file_without_a_token_is_reported(guarded: RunningCollector, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    done = run("triage", "--token-file", str(tmp_path / "token"), url=guarded.api)
    assert done.returncode == 2
    assert "does not contain a token" in done.stderr


def test_the_client_distinguishes_credential_errors(guarded: RunningCollector, tmp_path: Path) -> None:
    for token in (None, "wrong"):
        with Client(guarded.api, token=token) as client, pytest.raises(TokenNeeded):
            client.status()
    with Client(guarded.api, token=TOKEN) as client:
        assert client.status().stored == 0
    with pytest.raises(CredentialsUnusable, match="cannot be read"):
        Client(guarded.api, credentials=Credentials(token_file=tmp_path / "missing"))
    with pytest.raises(CredentialsUnusable, match="both --client-cert and --client-key"):
        Client(guarded.api, credentials=Credentials(client_cert=tmp_path / "x.pem"))


def test_a_token_is_not_shown_by_what_holds_it() -> None:
    assert TOKEN not in repr(Credentials(token=TOKEN))
    with pytest.raises(BadValue) as caught:
        Credentials(token=f"{TOKEN} {TOKEN}").headers()
    assert TOKEN not in str(caught.value)


def test_commands_speak_tls_and_show_a_certificate(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    showing = ssl.create_default_context(cafile=made / "ca.pem")
    showing.load_cert_chain(made / "client.pem", made / "client.key")
    served = ("--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem")
    options = [word if word.startswith("--") else str(made / word) for word in served]
    with running_collector(tmp_path, *options, tls=showing) as collector:
        stranger = run("triage", url=collector.api)
        trusting = run("triage", "--ca-file", str(made / "ca.pem"), url=collector.api)
        known = run(
            *("triage", "--ca-file", str(made / "ca.pem")),
            *("--client-cert", str(made / "client.pem"), "--client-key", str(made / "client.key")),
            url=collector.api,
        )
        with Client(collector.api) as client, pytest.raises(Untrusted, match="not trusted here"):
            client.status()
    assert (stranger.returncode, trusting.returncode, known.returncode) == (2, 2, 0), known.stderr
    assert "--ca-file" in stranger.stderr
    assert "certificate" in trusting.stderr
