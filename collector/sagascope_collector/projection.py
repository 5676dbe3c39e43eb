"""Keeps the summaries of sagas beside their facts."""
