"""Integrations: one module for each library."""
