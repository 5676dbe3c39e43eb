"""Payments as workflows of Temporal: charge, fulfil, refund. ``sagascope demo --engine temporal`` plays it."""
