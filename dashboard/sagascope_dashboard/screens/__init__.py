"""Screens draw what the view models prepared."""
