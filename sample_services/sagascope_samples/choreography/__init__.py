"""The six services without an orchestrator: each handles a message of NATS JetStream, and publishes the next.

No service coordinates a payment, and no plan is declared. ``sagascope demo --engine nats`` runs it.
"""
