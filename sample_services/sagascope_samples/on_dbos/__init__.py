"""Payments as DBOS workflows, with DBOS's own telemetry alone. ``sagascope demo --engine dbos`` runs it."""
