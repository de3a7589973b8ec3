"""How keys in a shared cache name the person whom an answer is about, so that whoever erases that person finds the answer."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

SUBJECT: Final = "s."  # begins the part of a key that names a subject


def subject_part(digest: str) -> str:
    """Return the part of a key that names a subject by digest."""
    return f"{SUBJECT}{digest}:"


def subject_pattern(service: str, digest: str) -> str:
    """Return what fits the beginning of every key of answers about one subject (by digest)."""
    return f"{quote(service, safe='')}:guardrail:cache:*:{subject_part(digest)}"
