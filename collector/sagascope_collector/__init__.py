"""The collector: OTLP in, DuckDB, diagnosis, HTTP API, command line."""
