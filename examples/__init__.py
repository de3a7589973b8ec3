"""Examples, a folder each. Run one from the repository root: `python -m examples.lending`."""
