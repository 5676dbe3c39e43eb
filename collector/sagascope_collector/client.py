"""Typed client of the HTTP API, for the dashboard, the command line and scripts."""
