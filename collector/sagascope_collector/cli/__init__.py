"""The `sagascope` command."""
