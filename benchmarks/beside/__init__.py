"""Costs beside the peers, each in its own environment, on the same small function in its ordinary way."""
