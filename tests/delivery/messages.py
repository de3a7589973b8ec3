"""What the tests of sinks that people read share: records, a way to make a sink, a certificate."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.delivery import Item, schemes

CANARY = "c4n4ry-s3cr3t"


def items(many: int, first: int = 1, **more: object) -> list[Item]:
    made = [
        {"v": 1, "id": f"01a2-{seq}", "seq": seq, "ts": "2026-01-01T00:00:00.000001Z", "event": "call", "outcome": "refused", "guard": "loans",
         "output": "patient has measles", **more}
        for seq in range(first, first + many)
    ]  # fmt: skip
    return [Item("lane", each["seq"], json.dumps(each).encode()) for each in made]


def sink(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def kinds(results) -> list[str]:
    return [each.kind for each in results]


def free_port() -> int:
    """A port for a server that is about to start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_dead: list[socket.socket] = []


def dead_port() -> int:
    """A port that refuses: it is held, so that no other test's server gets it, and nobody listens."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _dead.append(held)
    return held.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for localhost that nobody has signed but itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
