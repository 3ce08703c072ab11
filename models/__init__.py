"""The networks, one per file; adapters to foreign networks likewise. Nothing here reads `pipeline`."""
