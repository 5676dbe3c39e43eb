"""A shop with OpenTelemetry's SDK and nothing of Sagascope. ``sagascope demo --engine opentelemetry`` runs it.

Its spans have the order's id as `app.order.id`; ``mapping.yaml`` is all that the collector is told.
"""
