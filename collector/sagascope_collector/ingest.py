"""Bounded queue, one writer, group commit."""
