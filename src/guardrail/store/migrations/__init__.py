"""The tables of a shared database, one file for each change. `guardrail store migrate` applies them, and nothing else does."""
