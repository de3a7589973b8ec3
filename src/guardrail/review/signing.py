"""Signatures of Standard Webhooks (https://www.standardwebhooks.com): the key of callbacks, and the check of what arrives.

The key is asked for when a guard is made, not when its first case is decided.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from guardrail import clock, settings
from guardrail.errors import AccessDenied, ConfigError

TOLERANCE: Final = 300.0  # seconds that a message may be old, or that the sender's clock may be ahead
_MOST: Final = 10  # signatures in one header: a sender that changes its key gives two
_LONGEST: Final = 256  # characters of an id
_DIGITS: Final = 12  # of a timestamp


def key() -> bytes:
    """Return the key that callbacks are signed with.

    Raises:
        ConfigError: The setting `callback_secret` is missing, or no key.
    """
    from guardrail.delivery.sinks.webhook import signing_key  # noqa: PLC0415 - for those who have callbacks

    secret = settings.current().callback_secret
    if secret is None:
        raise ConfigError(
            "Review(callback=...) is signed, and there is no key for it",
            policy="review",
            hint="set GUARDRAIL_CALLBACK_SECRET (or …_FILE): whsec_ and base64 of 24 to 64 random bytes",
        )
    return signing_key(secret.reveal(), "GUARDRAIL_CALLBACK_SECRET")


def verified(headers: Mapping[str, str], body: bytes) -> str:
    """Check that a message which arrived is signed, and fresh; return its id.

    Args:
        headers: Of the request, in any case: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
        body: As it arrived.

    Raises:
        ConfigError: The setting `receive_secret` is missing, or no key: then nothing is taken.
        AccessDenied: The message is not signed by that key, or is not from the last five minutes. Nothing of it is named.
    """
    from guardrail.delivery.sinks.webhook import signature, signing_key  # noqa: PLC0415 - for those who receive

    secret = settings.current().receive_secret
    if secret is None:
        raise ConfigError(
            "answers by webhook are signed, and there is no key for them",
            policy="review",
            hint="set GUARDRAIL_RECEIVE_SECRET (or …_FILE): whsec_ and base64 of 24 to 64 random bytes",
        )
    key = signing_key(secret.reveal(), "GUARDRAIL_RECEIVE_SECRET")
    if not key:  # which everybody has
        raise ConfigError("GUARDRAIL_RECEIVE_SECRET is empty", policy="review", hint="give it 24 to 64 random bytes")
    given = {name.lower(): text for name, text in headers.items()}
    name, moment, signatures = (given.get(f"webhook-{each}", "") for each in ("id", "timestamp", "signature"))
    if not (0 < len(name) <= _LONGEST and name.isascii() and moment.isascii() and moment.isdecimal() and len(moment) <= _DIGITS):
        raise _denied("lacks webhook-id or webhook-timestamp")
    wanted = signature(key, name, moment, body).encode()
    # All are compared, and each in constant time: how long it takes tells nothing.
    fits = [hmac.compare_digest(each.encode("utf-8", "replace"), wanted) for each in signatures.split()[:_MOST]]
    if not any(fits):
        raise _denied("is not signed by the key that is expected")
    if abs(clock.wall() - int(moment)) > TOLERANCE:
        raise _denied("is not from the last five minutes")
    return name


def _denied(why: str) -> AccessDenied:
    return AccessDenied(
        f"the message {why}", policy="review", hint="sign it as Standard Webhooks has it, with the receiver's key"
    )
