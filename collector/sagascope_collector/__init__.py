"""The collector: OTLP receivers, DuckDB storage, diagnosis, HTTP API and command line."""
