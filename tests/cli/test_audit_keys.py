"""`guardrail audit key` and `rotate`: what a verifier needs, and how a ledger goes on with another key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from guardrail import flush, guarded, settings, shutdown
from guardrail.ledger import notes, reader, signing
from guardrail.ledger.manifest import Manifest

Run = Callable[..., Result]


@pytest.fixture
def ledger(home: Path) -> Path:
    """A ledger with one record, which no process uses."""
    guarded(lambda x: x, name="loans")(1)
    assert shutdown(10)
    return home / "ledger"


def test_key_shows_what_a_verifier_needs(run: Run, ledger: Path) -> None:
    """Id, file and public key under the name that the manifest is signed with; never the private one."""
    shown = run("audit", "key")
    key = signing.signing_key()
    verifier = notes.vkey(f"guardrail/{Manifest(ledger).lines()[0]['ledger']}/manifest", key.public)
    assert shown.exit_code == 0
    for words in (key.key_id, str(key.path), verifier):
        assert words in shown.output
    assert key.path.read_text().strip() not in shown.output
    assert json.loads(run("audit", "key", "--json").output) == {
        "key_id": key.key_id, "path": str(key.path), "beside": False, "ledger": Manifest(ledger).lines()[0]["ledger"], "vkey": verifier,
    }  # fmt: skip


def test_a_key_is_made_only_when_asked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking makes nothing; `--new` makes it where it is configured, and the same one stays; beside the ledger it is said."""
    path = tmp_path / "home" / "signing.key"
    monkeypatch.setenv("GUARDRAIL_SIGNING_KEY_FILE", str(path))
    settings.reset()
    refused = run("audit", "key")
    assert refused.exit_code != 0
    assert not path.exists()
    first = run("audit", "key", "--new", "--json")
    assert json.loads(first.output)["beside"] is True
    assert json.loads(run("audit", "key", "--new", "--json").output) == json.loads(first.output)
    assert "lies beside the ledger" in run("audit", "key").output
    path.chmod(0o644)
    assert run("audit", "key").exit_code != 0


def test_rotate_goes_on_with_a_new_key_and_records_it(run: Run, home: Path, ledger: Path) -> None:
    """The old key signs the new one, and an event says who did it."""
    before = signing.signing_key().key_id
    shown = json.loads(run("audit", "rotate", "--by", "ann", "--json").output)
    assert (shown["how"], shown["before"]) == ("rotated", before)
    assert [each["by"] for each in Manifest(ledger).key_lines()] == ["first", "rotated"]
    (event,) = reader.read(home, event="key")
    assert (event["what"], event["key"], event["before"], event["actor"]["id"]) == ("rotated", shown["key_id"], before, "ann")
    assert json.loads(run("audit", "key", "--json").output)["key_id"] == shown["key_id"]
    assert flush(5)


def test_a_lost_key_is_adopted_only_when_asked(run: Run, home: Path, ledger: Path) -> None:
    """Without `--adopt` the refusal names it; with it the ledger goes on, and warns that nothing binds the two keys."""
    lost = signing.signing_key()
    lost.path.unlink()
    for refused in (run("audit", "rotate"), run("audit", "key")):
        assert refused.exit_code != 0
        assert "--adopt" in str(refused.exception) + refused.output
    shown = run("audit", "rotate", "--adopt")
    assert shown.exit_code == 0
    assert "nothing binds it" in shown.output
    assert [each["by"] for each in Manifest(ledger).key_lines()] == ["first", "adopted"]
    (event,) = reader.read(home, event="key")
    assert (event["what"], event["before"]) == ("adopted", lost.key_id)
    assert run("audit", "rotate", "--adopt").exit_code != 0  # it is not lost now


def test_without_a_ledger_there_is_nothing_to_rotate(run: Run, home: Path) -> None:
    """And nothing is begun by trying."""
    assert run("audit", "rotate").exit_code != 0
    assert not (home / "ledger").exists()


def test_doctor_tells_key_place_and_loss_window(run: Run, ledger: Path) -> None:
    """What may be lost in a crash, what the ledger is signed with, and whether lanes are open."""
    found = json.loads(run("doctor", "--json").output)["findings"]
    texts = [each["text"] for each in found if each["what"] == "ledger"]
    assert any("20 ms" in text for text in texts)
    assert any(signing.signing_key().key_id in text for text in texts)
    assert Manifest(ledger).lanes()
