"""Removes data that must not be stored: card numbers, and data that a scrubbing file names."""

from sagascope_collector.scrubbing.rules import Pattern, Pseudonyms, Rules, load_key
from sagascope_collector.scrubbing.scrubber import Scrubber

__all__ = ["Pattern", "Pseudonyms", "Rules", "Scrubber", "load_key"]
