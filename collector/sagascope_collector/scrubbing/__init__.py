"""Removes data that must not be stored: card numbers, and data that a scrubbing file names."""

from sagascope_collector.scrubbing.rules import (
    Pattern as Pattern,
    Pseudonyms as Pseudonyms,
    Rules as Rules,
    load_key as load_key,
)
from sagascope_collector.scrubbing.scrubber import Scrubber as Scrubber
