"""OTLP receivers: bytes in, answer out."""
