"""`guardrail audit verify`, `verifier`, `prove`, `check-proof` and `anchor`: what shows that the ledger is what was written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, fail, plain, say
from guardrail.errors import ConfigError

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Key = Annotated[
    list[str] | None, typer.Option("--key", metavar="FILE|VKEY", help="A public key to trust; else this machine's own key.")
]


def register(audit: typer.Typer) -> None:
    """Add the commands of this part."""
    audit.command("verify")(verify)
    audit.command("verifier")(verifier)
    audit.command("prove")(prove)
    audit.command("check-proof")(check_proof)
    audit.command("anchor")(anchor)


def verify(
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="A home folder, its folder `ledger`, or postgresql://…; else what is configured."),
    ] = None,
    *,
    anchor: Annotated[
        list[Path] | None, typer.Option("--anchor", metavar="FILE", help="Anchored checkpoints: a file, or a folder of files.")
    ] = None,
    key: _Key = None,
    max_unanchored: Annotated[
        str | None, typer.Option("--max-unanchored", metavar="24h", help="The most that a record may be without an anchor.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Verify the ledger. Exit code: 0 proven, 1 altered, 2 truncated, 3 torn tail, 4 unanchored for too long, 5 wrong use.

    Without PATH, the anchors that are configured are read, too. Whoever distrusts this installation takes the file that
    `guardrail audit verifier` prints.
    """
    from guardrail.ledger import verify as verifying
    from guardrail.ledger.sources import is_url, source_of
    from guardrail.ledger.trust import own_keys

    home = settings.home(create=False) if path is None else Path(path)
    try:
        keys, ledgers = verifying.read_keys(key or [])
        policy = verifying.seconds(max_unanchored) if max_unanchored else None
        source = source_of(home if path is None else path)
        anchors = [verifying.blocks_of(str(each)) for each in anchor or []]
        for each in anchor or []:
            each.stat()
        unread: dict[str, str] = {}
        if path is None:
            anchors += _configured(home, unread)
        with contextlib.suppress(OSError):
            keys = keys or own_keys(path if path and is_url(path) else home.parent if home.name == "ledger" else home)
        report = verifying.verify(source, keys, anchors, policy, ledgers=ledgers)
    except (verifying.Usage, ConfigError, OSError) as problem:
        raise fail(str(problem), 5) from problem
    if as_json:
        emit(report.as_dict() | {"anchors_not_read": unread})
    else:
        for name, why in unread.items():
            say(f"[yellow]the anchor {clean(name)} could not be read: {clean(why)}[/yellow]")
        for line in report.text():
            say(clean(line))
    raise typer.Exit(report.code)


def _configured(home: Path, unread: dict[str, str]) -> Iterator[Iterator[bytes]]:
    """Yield the checkpoints of each anchor that is configured and lets us read."""
    from guardrail.ledger.anchors import place
    from guardrail.ledger.sources import manifest_of

    found = settings.current().anchors
    manifest = manifest_of(home)
    if found:
        manifest.refresh()
    for name, each in found.items():
        try:
            there = place(each)
            blocks = list(there.read(manifest.ledger_id or ""))
            there.close()
        except FileNotFoundError:
            continue  # nothing was pushed yet
        except OSError as problem:
            unread[name] = problem.strerror or str(problem)
        else:
            yield iter(blocks)


def verifier() -> None:
    """Print the verifier: one file that needs nothing but Python, to be read, and to be run elsewhere.

    `guardrail audit verifier > verify.py`, then `python verify.py PATH`.
    """
    from guardrail.ledger import verify as verifying

    typer.echo(Path(verifying.__file__).read_text(encoding="utf-8"), nl=False)


def prove(
    identity: Annotated[str, typer.Argument(metavar="ID", help="The record's id.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it here instead of printing it.")] = None,
) -> None:
    """Make the proof that a record stands in the ledger: a file that is checked without the ledger.

    It holds the record itself, so give it only to those who may see that.
    """
    from guardrail.ledger import proofs

    proof = proofs.prove(identity, settings.home(create=False))
    if out is None:
        typer.echo(proof, nl=False)
        return
    out.write_text(proof, encoding="utf-8")
    say(f"{clean(out)} proves the record; whoever checks it needs the public key: guardrail audit key")


def check_proof(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .tlog-proof file.")],
    *,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Check such a proof, offline. Exit code: 0 it holds, 1 it does not, 5 wrong use."""
    from guardrail.ledger import proofs
    from guardrail.ledger import verify as verifying
    from guardrail.ledger.trust import own_keys

    try:
        keys, _ = verifying.read_keys(key or [])
        with file.open("rb") as opened:
            content = opened.read(proofs.LIMIT + 1).decode(errors="replace")
        found = proofs.check(content, keys or own_keys(settings.home(create=False)))
    except (verifying.Usage, ConfigError, OSError) as problem:
        raise fail(str(problem), 5) from problem
    except proofs.ProofWrong as problem:
        raise fail(str(problem), 1) from problem
    line = found.line.decode(errors="replace")
    if as_json:
        emit(found._asdict() | {"line": line})
        return
    say(
        f"record {found.seq} of {clean(found.origin)} is one of the {found.size} that the key {found.key_id} signed for at {clean(found.time)}"
    )
    typer.echo(plain(line))


def anchor(*, as_json: _Json = False) -> None:
    """Push the newest checkpoint of every lane to every anchor, now. Exit code 1 if one of them does not take it."""
    from guardrail.ledger.anchors import pushing

    home = settings.home(create=False)
    if not settings.current().anchors:
        raise fail("no anchor is configured; set GUARDRAIL_ANCHOR_<NAME>=file:///path, s3://… or postgresql://…", 5)
    found = pushing.push_now(home)
    if as_json:
        emit(found)
    else:
        for name, problem in found.items():
            say(f"[red]{clean(name)}: {clean(problem)}[/red]" if problem else f"[green]{clean(name)}: pushed[/green]")
    raise typer.Exit(int(any(found.values())))
