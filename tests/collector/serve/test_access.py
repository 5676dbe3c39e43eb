"""Tokens, TLS and CORS, on all three ports of a real collector."""

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from support.certificates import make_certificates
from support.collector import RunningCollector, running_collector
from support.http2 import Http2
from support.otlp import span, traces
from support.samples import wait_until

PROTOBUF = {"content-type": "application/x-protobuf"}
INGEST, READ, CHANGE = "ingest-token-0123456789", "read-token-0123456789", "change-token-0123456789"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "ingest").write_text(INGEST + "\n")
    (folder / "change").write_text(CHANGE)
    files = ("--ingest-token-file", str(folder / "ingest"), "--change-token-file", str(folder / "change"))
    files += ("--log-level", "debug")
    with running_collector(folder, *files, environment={"SAGASCOPE_READ_TOKEN": READ}, own_python=True) as collector:
        yield collector


@pytest.mark.parametrize("header", [{}, bearer(READ), bearer(INGEST + "x"), bearer("x"), {"authorization": INGEST}])
def test_senders_over_http_need_the_ingest_token(guarded: RunningCollector, header: dict[str, str]) -> None:
    url = f"{guarded.otlp_http}/v1/traces"
    refused = httpx.post(url, headers=PROTOBUF | header, trust_env=False, timeout=60)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert Status.FromString(refused.content).code == 16
    assert httpx.post(url, headers=PROTOBUF | bearer(INGEST), trust_env=False, timeout=60).status_code == 200


@pytest.mark.parametrize("metadata", [(), (("authorization", f"Bearer {READ}"),)])
def test_senders_over_grpc_need_the_ingest_token(guarded: RunningCollector, metadata: tuple) -> None:
    with grpc.insecure_channel(guarded.otlp_grpc) as channel:
        export = TraceServiceStub(channel).Export
        with pytest.raises(grpc.RpcError) as caught:
            export(traces(span()), metadata=metadata, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        export(traces(span()), metadata=(("authorization", f"bearer {INGEST}"),), timeout=30)


def test_a_sender_without_its_token_is_refused_before_its_request_arrives(guarded: RunningCollector) -> None:
    host, _, port = guarded.otlp_http.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")
    call = Http2(guarded.otlp_grpc)
    stream = call.begin("/opentelemetry.proto.collector.trace.v1.TraceService/Export", 9999)
    wait_until(lambda: call.receive(0.1) or stream in call.ended, "the call was not ended")
    call.close()


def test_readers_need_the_read_token_or_the_one_for_changing(guarded: RunningCollector) -> None:
    with httpx.Client(base_url=guarded.api, trust_env=False, timeout=60) as api:
        refused = api.get("/api/v1/status", headers=bearer(INGEST))
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
        assert refused.json()["title"] == "Token required"
        assert [api.get("/api/v1/status", headers=bearer(each)).status_code for each in (READ, CHANGE)] == [200, 200]
        assert [api.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_changes_need_the_token_for_changing(guarded: RunningCollector) -> None:
    with httpx.Client(base_url=guarded.api, trust_env=False, timeout=60) as api:
        assert api.patch("/api/v1/incidents/x", json={}, headers=bearer(READ)).status_code == 401
        assert api.patch("/api/v1/incidents/x", json={}, headers=bearer(CHANGE)).status_code != 401


def test_tokens_are_in_no_log_and_no_list_of_processes(guarded: RunningCollector) -> None:
    command = Path(f"/proc/{guarded.process.pid}/cmdline")
    said = guarded.logged() + (command.read_text() if command.exists() else "")
    assert not [each for each in (INGEST, READ, CHANGE) if each in said]


def test_an_unreadable_token_is_reported_at_the_start(tmp_path: Path) -> None:
    for file, said in (("missing", "cannot be read"), ("short", "too short")):
        (tmp_path / "short").write_text("hello")
        with (
            pytest.raises(RuntimeError, match=said),
            running_collector(tmp_path, "--read-token-file", str(tmp_path / file)),
        ):
            pass


def test_binding_wider_without_token_and_tls_logs_a_warning(tmp_path: Path) -> None:
    with running_collector(tmp_path, addresses={"otlp_http": "0.0.0.0:0"}) as collector:
        said = collector.logged()
    assert "ANYONE who reaches 0.0.0.0:0 can send telemetry" in said
    assert "NOT ENCRYPTED" in said


def test_no_web_page_may_read_unless_it_is_named(tmp_path: Path) -> None:
    page = {"origin": "https://ops.example"}
    preflight = page | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with running_collector(tmp_path) as collector:
        answer = httpx.get(f"{collector.api}/api/v1/status", headers=page, trust_env=False, timeout=60)
        assert "access-control-allow-origin" not in answer.headers
        assert httpx.options(f"{collector.otlp_http}/v1/traces", headers=preflight, trust_env=False).status_code == 403
    with running_collector(tmp_path, "--cors-origin", "https://ops.example") as collector:
        answer = httpx.get(f"{collector.api}/api/v1/status", headers=page, trust_env=False, timeout=60)
        assert answer.headers["access-control-allow-origin"] == "https://ops.example"
        assert httpx.options(f"{collector.otlp_http}/v1/traces", headers=preflight, trust_env=False).status_code == 200
        other = httpx.get(
            f"{collector.api}/api/v1/status", headers={"origin": "https://x.example"}, trust_env=False, timeout=60
        )
        assert "access-control-allow-origin" not in other.headers


def test_the_api_answers_to_known_hosts_only(tmp_path: Path) -> None:
    with running_collector(tmp_path, "--allowed-host", "Sagas.Example") as collector:
        port = collector.api.rpartition(":")[2]

        def status_of(host: str, path: str = "/api/v1/status") -> int:
            return httpx.get(f"{collector.api}{path}", headers={"host": host}, trust_env=False, timeout=60).status_code

        known = (
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            "10.1.2.3",
            "[::1]:80",
            "sagas.example",
            "sagas.example.:443",
        )
        assert [status_of(host) for host in known] == [200] * len(known)
        foreign = (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "[::1].evil.example",
            "sagas.example.evil.example",
            "x",
        )
        assert [status_of(host) for host in foreign] == [421] * len(foreign)
        assert {status_of("evil.example", path) for path in ("/metrics", "/healthz", "/api/v1/backup", "/")} == {421}


def test_a_page_of_another_server_changes_nothing(tmp_path: Path) -> None:
    with running_collector(tmp_path, "--cors-origin", "https://ops.example") as collector:

        def status_of(body: str = '{"key": "x", "value": "y"}', **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            url = f"{collector.api}/api/v1/forget"
            return httpx.post(url, content=body, headers=named, trust_env=False, timeout=60).status_code

        json = "application/json"
        assert status_of(content_type=json) == 200
        assert status_of(content_type=json, origin=collector.api) == 200
        assert status_of(content_type=json, origin="https://ops.example") == 200
        assert {status_of(content_type=json, origin=origin) for origin in ("https://evil.example", "null")} == {403}
        assert {status_of(content_type=simple) for simple in ("text/plain", "", "multipart/form-data")} == {415}


def test_a_page_of_another_server_causes_no_work_and_a_link_can_be_followed(tmp_path: Path) -> None:
    with running_collector(tmp_path, "--cors-origin", "https://ops.example") as collector:

        def status_of(path: str = "/api/v1/backup", **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx.get(f"{collector.api}{path}", headers=named, trust_env=False, timeout=60).status_code

        for site in ("cross-site", "same-site"):
            assert status_of(sec_fetch_site=site, sec_fetch_dest="image") == 403
            assert status_of(sec_fetch_site=site, sec_fetch_dest="iframe", sec_fetch_mode="navigate") == 403
            assert status_of(sec_fetch_site=site, sec_fetch_dest="empty", origin="https://evil.example") == 403
            assert status_of(sec_fetch_site=site, sec_fetch_dest="empty", origin="https://ops.example") == 200
            assert status_of("/api/v1/flows", sec_fetch_site=site, sec_fetch_dest="document") == 200
        assert status_of(sec_fetch_site="same-origin", sec_fetch_dest="empty") == 200
        assert status_of(sec_fetch_site="none", sec_fetch_dest="document") == 200


def test_every_answer_of_the_api_has_its_security_headers(guarded: RunningCollector) -> None:
    for path, headers in (("/healthz", {}), ("/api/v1/flows", {}), ("/api/v1/flows", bearer(READ)), ("/nothing", {})):
        answer = httpx.get(f"{guarded.api}{path}", headers=headers, trust_env=False, timeout=60)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    foreign = httpx.get(f"{guarded.api}/healthz", headers={"host": "evil.example"}, trust_env=False, timeout=60)
    assert foreign.headers["x-content-type-options"] == "nosniff"


def test_otlp_checks_names_and_origins_of_requests_from_pages_only(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:

        def status_of(**headers: str) -> int:
            headers |= {"content-type": "application/json"}
            url = f"{collector.otlp_http}/v1/traces"
            return httpx.post(url, content="{}", headers=headers, trust_env=False, timeout=60).status_code

        assert status_of(host="collector:4318") == 200
        assert status_of(origin=collector.otlp_http) == 200
        assert status_of(host="evil.example", origin="http://evil.example") == 421
        assert status_of(origin="http://evil.example") == 403


# --- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root, and a server's and a client's certificate signed by it."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def options(certificates: Path, *, mutual: bool) -> list[str]:
    said = ["--tls-cert", str(certificates / "server.pem"), "--tls-key", str(certificates / "server.key")]
    return [*said, "--tls-client-ca", str(certificates / "ca.pem")] if mutual else said


@pytest.mark.parametrize("mutual", [False, True])
def test_all_ports_use_tls_and_require_certificates_where_configured(
    tmp_path: Path, certificates: Path, mutual: bool
) -> None:
    trusting = ssl.create_default_context(cafile=certificates / "ca.pem")
    showing = ssl.create_default_context(cafile=certificates / "ca.pem")
    showing.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    with running_collector(tmp_path, *options(certificates, mutual=mutual), tls=showing) as collector:
        assert collector.api.startswith("https://")
        for context in (trusting, showing):
            let_in = context is showing or not mutual
            assert reaches_http(collector, context) == reaches_api(collector, context) == let_in
        assert reaches_grpc(collector, certificates, show=True)
        assert reaches_grpc(collector, certificates, show=False) == (not mutual)


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path, certificates: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(certificates, own)
    trusting = ssl.create_default_context(cafile=own / "ca.pem")
    with running_collector(tmp_path, *options(own, mutual=False), tls=trusting) as collector:
        addresses = collector.api, collector.otlp_http, collector.otlp_grpc
        before = [certificate_of(each) for each in addresses]
        shutil.copy(own / "client.key", own / "server.key")  # in the middle of a renewal
        wait_until(lambda: "the previous one stays" in collector.log.read_text(), "the faulty pair was not logged")
        assert [certificate_of(each) for each in addresses] == before
        shutil.copy(own / "client.pem", own / "server.pem")
        new = ssl.PEM_cert_to_DER_cert((own / "client.pem").read_text())
        assert new not in before
        wait_until(lambda: {certificate_of(each) for each in addresses} == {new}, "the new certificate is not used")
        assert reaches_api(collector, trusting)
        assert reaches_grpc(collector, own, show=False)


def test_clients_of_a_replaced_authority_are_refused_without_a_restart(tmp_path: Path, certificates: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    shutil.copytree(certificates, own)
    other.mkdir()
    make_certificates(other)
    contexts = [ssl.create_default_context(cafile=certificates / "ca.pem") for _ in range(2)]
    for context, shown in zip(contexts, (certificates, other), strict=True):
        context.load_cert_chain(shown / "client.pem", shown / "client.key")
    before, after = contexts
    with running_collector(tmp_path, *options(own, mutual=True), tls=before) as collector:
        assert reaches_api(collector, before)
        assert not reaches_api(collector, after)
        shutil.copy(other / "ca.pem", own / "ca.pem")
        wait_until(lambda: reaches_api(collector, after), "the new authority is not trusted")
        assert not reaches_api(collector, before)


def test_a_session_does_not_outlive_the_authority_of_its_client(tmp_path: Path, certificates: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    shutil.copytree(certificates, own)
    other.mkdir()
    make_certificates(other)
    before, after = (ssl.create_default_context(cafile=certificates / "ca.pem") for _ in range(2))
    for context, shown in ((before, certificates), (after, other)):
        context.load_cert_chain(shown / "client.pem", shown / "client.key")
    before.minimum_version = ssl.TLSVersion.TLSv1_3
    with running_collector(tmp_path, *options(own, mutual=True), tls=before) as collector:
        session = session_of(collector.api, before, None)
        shutil.copy(other / "ca.pem", own / "ca.pem")
        wait_until(lambda: reaches_api(collector, after), "the new authority is not trusted")
        with pytest.raises((OSError, EOFError)):
            session_of(collector.api, before, session)


def session_of(address: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Asks over TLS, resuming a session; returns the session."""
    host, _, port = address.partition("://")[2].rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as encrypted,
    ):
        encrypted.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not encrypted.recv(4096):
            raise EOFError
        return encrypted.session


def certificate_of(
    address: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, ciphers: str = "ALL"
) -> bytes | None:
    """Returns the certificate that a server shows to a client that speaks one version of TLS, with these ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.minimum_version, context.maximum_version = version, version
    host, _, port = address.partition("://")[2].rpartition(":") if "://" in address else address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain, context.wrap_socket(plain) as encrypted:
        return encrypted.getpeercert(binary_form=True)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_protocols_before_tls_1_2_are_refused(tmp_path: Path, certificates: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificates / "ca.pem")
    with running_collector(tmp_path, *options(certificates, mutual=False), tls=trusting) as collector:
        for address in (collector.api, collector.otlp_http, collector.otlp_grpc):
            assert certificate_of(address, ssl.TLSVersion.TLSv1_2)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                certificate_of(address, ssl.TLSVersion.TLSv1_1)


def test_weak_ciphers_are_refused(tmp_path: Path, certificates: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificates / "ca.pem")
    with running_collector(tmp_path, *options(certificates, mutual=False), tls=trusting) as collector:
        for address in (collector.api, collector.otlp_http, collector.otlp_grpc):
            assert certificate_of(address, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
            for weak in ("ECDHE-ECDSA-AES128-SHA", "AECDH-AES128-SHA", "ECDHE-ECDSA-NULL-SHA"):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    certificate_of(address, ciphers=weak)


def reaches_http(collector: RunningCollector, context: ssl.SSLContext) -> bool:
    try:
        url = f"{collector.otlp_http}/v1/traces"
        return httpx.post(url, headers=PROTOBUF, verify=context, trust_env=False, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def reaches_api(collector: RunningCollector, context: ssl.SSLContext) -> bool:
    try:
        return (
            httpx.get(f"{collector.api}/api/v1/status", verify=context, trust_env=False, timeout=60).status_code == 200
        )
    except httpx.TransportError:
        return False


def reaches_grpc(collector: RunningCollector, certificates: Path, *, show: bool) -> bool:
    own = [(certificates / name).read_bytes() for name in ("client.key", "client.pem")] if show else [None, None]
    credentials = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes(), *own)
    with grpc.secure_channel(collector.otlp_grpc, credentials) as channel:
        try:
            TraceServiceStub(channel).Export(traces(span()), timeout=10)
        except grpc.RpcError:
            return False
    return True


def test_unusable_certificates_are_reported_at_the_start(tmp_path: Path, certificates: Path) -> None:
    broken = ("--tls-cert", str(certificates / "server.pem"), "--tls-key", str(certificates / "client.key"))
    for said, given in (("cannot be used", broken), ("both --tls-cert and --tls-key", broken[:2])):
        with pytest.raises(RuntimeError, match=said), running_collector(tmp_path, *given):
            pass
