"""The same six services without an orchestrator: each reacts to a message over NATS JetStream, and publishes the next.

Nobody leads a payment, and nowhere is written down what belongs to it. ``sagascope demo --engine nats`` plays it.
"""
