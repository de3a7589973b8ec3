"""Labelled data for training, with where each label comes from: what was asked, what the model said, what a person said, by what chance.

The split follows from the user's own key, so that the same matter is always on the same side, and nothing leaks from one to the other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Connection, func, select

from guardrail.content.personal import SEALED
from guardrail.errors import ConfigError
from guardrail.ledger import told
from guardrail.ledger.keys import digest_key
from guardrail.ledger.wanted import Wanted
from guardrail.review.case import Row, from_text, moment, plain
from guardrail.store import engine
from guardrail.store.tables import claim, label, ticket

Format = Literal["jsonl", "parquet"]
SPLITS: Final = (("train", 0.7), ("calibrate", 0.85), ("test", 1.0))  # each with the upper end of its part of the draws
_HELD_OUT: Final = ("appeal",)  # never trained on: they are there to judge by
_BITS: Final = 32
_TICKET: Final = (
    "guard", "kind", "version", "key", "arguments", "provisional", "confidence", "threshold", "triggers", "reviewers", "priority", "queue",
)  # fmt: skip


def labelled(guard: str | None = None, queue: str | None = None) -> list[dict[str, Any]]:
    """Return all labels with what is known of their cases, in the order in which they were stored; that is recorded.

    Args:
        guard: Only of this guard.
        queue: Only of cases of this queue.

    Returns:
        One mapping for each label: `decision_id`, `guard`, `version`, `business_id`, `input` (as it is stored: what is sealed says
        "sealed"), `model_output`, `confidence`, `threshold`, `label`, `label_source`, `reason`, `reviewer` (a pseudonym), `blind`,
        `agreement` (share of equal pairs of votes, None for one vote), `adjudicated`, `triggers`, `inclusion_prob`, `decided_at`,
        `superseded_by` (the number of a later label of the same decision) and `split` ("train", "calibrate" or "test", by a keyed
        hash of the business id, else of the input; an appeal is "held_out").

    Raises:
        StoreError: The store cannot be read.
    """
    found = engine.read(lambda connection: list(_read(connection, guard, queue))) if engine.exists() else []
    last = {row["decision_id"]: number for number, row in enumerate(found) if row["decision_id"] is not None}
    for number, row in enumerate(found):
        newest = last.get(row["decision_id"], number)
        row["superseded_by"] = newest if newest != number else None
    told.tell("export", Wanted(), len(found), what="labels", guard=guard, queue=queue)
    return found


def export_labelled(path: Path, form: Format = "jsonl", *, guard: str | None = None, queue: str | None = None) -> int:
    """Write what `labelled` returns into a file, readable by its owner only; return how many labels that were.

    Args:
        path: The file, which must not exist.
        form: "jsonl", a JSON object on each line, or "parquet", which needs the extra `parquet`; there input, output, label and
            triggers are JSON text.
        guard: Only of this guard.
        queue: Only of cases of this queue.

    Raises:
        ConfigError: The format is unknown, the file exists, or pyarrow is not installed.
        OSError: The file cannot be written.
        StoreError: The store cannot be read.
    """
    if form not in ("jsonl", "parquet"):
        raise ConfigError("there is no such format of labelled data", hint='write "jsonl" or "parquet"')
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise ConfigError(f"{path} is there already", hint="name another file, or remove it") from None
    try:
        found = labelled(guard, queue)
        if form == "jsonl":
            path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in found))
        else:
            _parquet(found, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return len(found)


def _parquet(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigError("an export to Parquet needs pyarrow", hint='pip install "guardrail-sdk[parquet]"') from None
    kinds = {
        "confidence": pa.float64(), "threshold": pa.float64(), "agreement": pa.float64(), "inclusion_prob": pa.float64(),
        "blind": pa.bool_(), "adjudicated": pa.bool_(), "superseded_by": pa.int64(),
    }  # fmt: skip
    schema = pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in _row_names()])
    spelled = {"input", "model_output", "label", "triggers"}
    rows = [{name: orjson.dumps(each).decode() if name in spelled else each for name, each in row.items()} for row in found]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def _row_names() -> tuple[str, ...]:
    return (
        "decision_id", "guard", "version", "business_id", "input", "model_output", "confidence", "threshold", "label", "label_source",
        "reason", "reviewer", "blind", "agreement", "adjudicated", "triggers", "inclusion_prob", "decided_at", "superseded_by", "split",
    )  # fmt: skip


def _read(connection: Connection, guard: str | None, queue: str | None) -> Iterator[dict[str, Any]]:
    columns = [*(each for each in label.c), *(ticket.c[name].label(f"of_{name}") for name in _TICKET)]
    of_decision = (
        label.c.ticket_id.is_(None) & (ticket.c.decision_id == label.c.decision_id) & ticket.c.kind.in_(("case", "audit"))
    )
    query = select(*columns).outerjoin(ticket, (ticket.c.id == label.c.ticket_id) | of_decision).order_by(label.c.seq)
    if guard is not None:  # feedback by a decision's id does not name the guard
        query = query.where(func.coalesce(label.c.guard, ticket.c.guard) == plain(guard))
    if queue is not None:
        query = query.where(ticket.c.queue == plain(queue))
    secret = digest_key()
    votes = select(claim.c.reviewer, claim.c.verdict, claim.c.value, claim.c.blind).where(claim.c.state == "voted")
    for row in connection.execute(query).mappings():
        cast = (
            list(connection.execute(votes.where(claim.c.ticket_id == row["ticket_id"]))) if row["ticket_id"] is not None else []
        )
        yield _row(row, cast, secret)


def _row(row: Row, cast: Sequence[Any], secret: bytes) -> dict[str, Any]:
    said = Counter((vote.verdict if vote.verdict in ("reject", "unsure") else "", vote.value) for vote in cast)
    pairs = len(cast) * (len(cast) - 1)
    mine = next((vote for vote in cast if vote.reviewer == row["actor"]), None)
    made = {
        "decision_id": row["decision_id"],
        "guard": row["guard"] or row["of_guard"],
        "version": row["of_version"],
        "business_id": row["business_id"],
        "input": without_sealed(from_text(row["of_arguments"])),
        "model_output": without_sealed(from_text(row["of_provisional"])),
        "confidence": row["of_confidence"],
        "threshold": row["of_threshold"],
        "label": without_sealed(from_text(row["actual"])),
        "label_source": row["source"],
        "reason": row["reason"],
        "reviewer": None if row["actor"] is None else _keyed(secret, "reviewer", row["actor"].encode()).hex()[:12],
        "blind": None if mine is None else bool(mine.blind),
        "agreement": sum(times * (times - 1) for times in said.values()) / pairs if pairs else None,
        "adjudicated": len(said) > 1,
        "triggers": from_text(row["of_triggers"]),
        "inclusion_prob": row["inclusion"],
        "decided_at": moment(row["at"]).isoformat(),
        "superseded_by": None,
        "split": _split(row, secret),
    }
    return {name: made[name] for name in _row_names()}


def _split(row: Row, secret: bytes) -> str:
    if row["source"] in _HELD_OUT:
        return "held_out"
    about = (
        row["business_id"].encode()
        if row["business_id"] is not None
        else row["of_key"] or (row["decision_id"] or row["id"]).encode()
    )
    drawn = int.from_bytes(_keyed(secret, "split", about)[: _BITS // 8], "big") / (1 << _BITS)
    return next(name for name, end in SPLITS if drawn < end)


def _keyed(secret: bytes, what: str, about: bytes) -> bytes:
    return hashlib.blake2b(what.encode() + b"\0" + about, digest_size=16, key=secret).digest()


def without_sealed(value: Any) -> Any:
    """Return what is stored with what is sealed named as such, and without what is only ours."""
    if isinstance(value, dict):
        if SEALED in value:
            return "sealed"
        return {name: without_sealed(each) for name, each in value.items() if not name.startswith("$")}
    return [without_sealed(each) for each in value] if isinstance(value, list) else value
