"""Settings of the collector, from flags, environment and defaults."""
