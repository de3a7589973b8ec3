"""The key that callbacks are signed with; asked for when a guard is made, not when its first case is decided."""

from __future__ import annotations

from guardrail import settings
from guardrail.errors import ConfigError


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
