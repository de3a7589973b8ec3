"""The servers that tests use are real ones."""

from __future__ import annotations

import uuid

import pytest


def test_redis_answers(redis_server):
    """It keeps what it is given, and is nobody else's: only this machine reaches it."""
    redis = pytest.importorskip("redis")
    key = uuid.uuid4().hex
    with redis.Redis.from_url(redis_server) as client:
        client.set(key, "value", px=60_000)
        assert client.get(key) == b"value"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
