"""`guardrail audit key` and `rotate`: the key that the ledger's checkpoints are signed with."""

from __future__ import annotations

from typing import Annotated

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, reasons_told, say

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_By = Annotated[str | None, typer.Option("--by", help="Who does it; else the user of this system.")]


def register(audit: typer.Typer) -> None:
    """Add the commands of this part."""
    audit.command("key")(key)
    audit.command("rotate")(rotate)


def key(
    *,
    new: Annotated[bool, typer.Option("--new", help="Make the key, if there is none where it belongs.")] = False,
    as_json: _Json = False,
) -> None:
    """Show the public key that the ledger is signed with, for those who verify, and where the private one is."""
    from guardrail.ledger import signing, standing
    from guardrail.ledger.sources import manifest_of

    home = settings.home(create=False)
    manifest = manifest_of(home)
    with reasons_told():
        manifest.refresh()
        if new and manifest.key_id is None:
            found = signing.make(signing.places().paths[-1])
        else:
            found = signing.signing_key(manifest.ledger_id, manifest.key_id, create=False)
    beside = signing.beside(found.path, home)
    verifier = standing.vkey_of(manifest, found) if manifest.ledger_id is not None else None
    if as_json:
        emit({"key_id": found.key_id, "path": str(found.path), "beside": beside, "ledger": manifest.ledger_id, "vkey": verifier})
        return
    say(f"key {found.key_id}, in {clean(found.path)}")
    say(clean(verifier) if verifier else "the ledger is begun by the first record; then this shows what a verifier needs")
    if beside:
        say("[yellow]it lies beside the ledger: whoever can change one can sign with the other; keep it elsewhere[/yellow]")


def rotate(
    *,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="The old key is lost: go on with the one that is there, or a new one.")
    ] = False,
    by: _By = None,
    as_json: _Json = False,
) -> None:
    """Go on with a new key, signed by the old one. Running processes follow with their next checkpoint."""
    from guardrail.ledger import rotation, standing, writer
    from guardrail.ledger.disk import FOLDER
    from guardrail.ledger.sources import manifest_of
    from guardrail.review.case import Actor

    folder = settings.home(create=False) / FOLDER
    with reasons_told():
        if adopt:
            before, after = rotation.adopt(folder)
        else:
            old, after = rotation.rotate(folder)
            before = old.key_id
    how = "adopted" if adopt else "rotated"
    who = Actor.of(by)
    fields = {"what": how, "key": after.key_id, "before": before, "actor": {"id": who.id, "known_by": who.known_by}}
    writer.event("key", fields=fields, sync=True)
    manifest = manifest_of(folder.parent)
    manifest.refresh()
    verifier = standing.vkey_of(manifest, after)
    if as_json:
        emit({"how": how, "before": before, "key_id": after.key_id, "path": str(after.path), "vkey": verifier})
        return
    say(f"{how}: key {after.key_id} follows {clean(before)}, in {clean(after.path)}")
    say(clean(verifier))
    if adopt:
        say("[yellow]nothing binds it to the lost key: tell those who verify this ledger of it yourself[/yellow]")
