"""The content of one row of a table: its key, its business id, and how people see it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guardrail import content
from guardrail.call import Call
from guardrail.policies.snapshot import Snapshot
from guardrail.principal import acting
from guardrail.tables.base import encoded

if TYPE_CHECKING:
    from guardrail.policies.table_state import Place, State


class RowSnapshot(Snapshot):
    """As `Snapshot`, for calls that stand for a row: the row is in the table's place. `place` says where that is."""

    place: Place

    def of_rows(self, call: Call, state: State) -> None:
        """Encode each row, beside everything that the rows of this call share.

        A row without an exact encoding has no digest and is not cached, which is said once.
        """
        others, named = self.place.others(call, self.skip)
        try:
            shared = content.encode((state.models is None, state.table.schema() if state.models is None else None, others, named))
        except content.Unkeyable as problem:
            self._say(problem)
            return
        head = content.digest(shared)
        encodings = state.table.encodings() if state.models is None else map(encoded, state.models)
        whole = hashlib.sha256(head)
        size = 0
        snapshots: list[bytes | None] = []
        for encoding in encodings:
            if encoding is None:
                snapshots.append(None)
            else:
                snapshots.append(head + encoding)
                whole.update(encoding)
                size += len(encoding)
        if None in snapshots:
            self._say(content.Unkeyable(self.place.name, "a row"))
        # In the form of content's own long encodings: their size, then their hash.
        call.snapshot = b"#" + size.to_bytes(8, "little") + whole.digest()
        state.snapshots = snapshots

    def keys(self, call: Call, state: State) -> Sequence[Any] | None:
        """Return the key of each row, None for a row that cannot be keyed exactly (said once)."""
        who = None
        if self.per is not None:
            acts = acting.get()
            who = None if acts is None else (acts[0].id if self.per == "principal" else acts[0].tenant)
        try:
            if self.key is not None:
                rows = state.rows(range(state.count))
                return [(who, content.encode(self._own_key(call, row))) for row in rows]
            owner = content.encode(call.args[0]) if self.skip else None
            bound = None if self.bound is None else content.encode(self.bound)
        except content.Unkeyable as problem:
            self._say(problem)
            return None
        if state.snapshots is None:
            return None
        if who is None and owner is None and bound is None:
            return state.snapshots
        return [None if snapshot is None else (who, owner, bound, snapshot) for snapshot in state.snapshots]

    def _own_key(self, call: Call, row: Any) -> object:
        args, kwargs = self.place.with_value(call, row)
        return None if self.key is None else self.key(*args, **kwargs)

    def _arranged(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of the row by name, then the other arguments."""
        row = shown.get(self.place.name)
        if isinstance(row, dict) and not any(name.startswith("$") for name in row):
            del shown[self.place.name]
            return {**row, **{name: value for name, value in shown.items() if name not in row}}
        return shown
