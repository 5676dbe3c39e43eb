"""Wires everything; the only composition root."""
