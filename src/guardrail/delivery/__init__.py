"""Brings the ledger's records to the systems that want them, at least once and in order; what a sink needs to be written."""

from __future__ import annotations

from guardrail.delivery.address import Address, Option
from guardrail.delivery.sink import Caps, Item, Result, Sink, ok, pending, reject, retry

__all__ = ["Address", "Caps", "Item", "Option", "Result", "Sink", "ok", "pending", "reject", "retry"]
