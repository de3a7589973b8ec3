"""Thresholds and intervals with a guarantee, as values and as files. They are found in `guardrail.review`."""
