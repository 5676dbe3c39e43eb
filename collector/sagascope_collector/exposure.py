"""Says loudly what others than this machine can reach without being asked who they are. Pure."""

from sagascope_collector.settings import Settings


def warnings(settings: Settings) -> list[str]:
    """One sentence for each port that is open wider than it should be."""
    tokens = settings.tokens
    ports = (
        ("--otlp-grpc", settings.otlp_grpc, "send telemetry", "--ingest-token-file", tokens.ingest),
        ("--otlp-http", settings.otlp_http, "send telemetry", "--ingest-token-file", tokens.ingest),
        ("--api", settings.api, "read all transactions", "--read-token-file", tokens.read),
    )
    said = []
    for option, address, deed, remedy, token in ports:
        if address.is_loopback:
            continue
        if not token and not (settings.tls and settings.tls.client_ca):
            said.append(f"ANYONE who reaches {address} can {deed}: set a token with {remedy}, or keep {option} local.")
        if not settings.tls:
            said.append(f"What goes over {address} is NOT ENCRYPTED: set --tls-cert and --tls-key.")
    return said
