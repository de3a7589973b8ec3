"""Thin adapters to other frameworks, one file each; the framework is imported inside, at first use."""
