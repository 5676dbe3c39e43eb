"""Payments as Temporal workflows: charge, fulfil, refund. ``sagascope demo --engine temporal`` runs it."""
