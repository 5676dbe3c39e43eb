"""What may not be kept is taken out of telemetry before anything is committed: card numbers, and what a file says."""

from sagascope_collector.scrubbing.key import chosen as chosen_key
from sagascope_collector.scrubbing.rules import Pattern, Rules
from sagascope_collector.scrubbing.scrubber import Scrubber
from sagascope_collector.scrubbing.tokens import Tokens

__all__ = ["Pattern", "Rules", "Scrubber", "Tokens", "chosen_key"]
