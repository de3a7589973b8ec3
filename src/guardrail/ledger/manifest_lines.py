"""The manifest's lines as they are read: linked, hashed and sorted by what they are. Their content is looked at when it is asked for."""

from __future__ import annotations

import contextlib
import re
from binascii import hexlify
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, cast

import orjson

from guardrail.ledger import merkle

_EVENT: Final = b'","event":"'  # what stands between moment and event
_MOMENT: Final = len("1970-01-01T00:00:00.000000Z")
_LANE: Final = b'"lane":"'
# What can be the name of a lane's folder, as the verifier has it: at any other nobody looks, since it may lead anywhere.
_NAME: Final = re.compile(r"(?!manifest$)[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_BEGINNING: Final = frozenset({"ledger", "key"})
_OF_LANES: Final = frozenset({"open", "segment", "close", "prune"})


@dataclass(slots=True)
class LaneFacts:
    """What the manifest says of one lane.

    Attributes:
        name: Its own.
        key_id: Of the key that it began with.
        host: Where its process ran, as are boot, pid and sdk.
        size: Records when it was closed, None while it is open.
        root: Of all of them (hex), None while it is open.
        recovered: By whom it was closed and what was cut, where its own process did not close it.
        segments: (first, last, root at last) of each file that was closed before the lane was.
        pruned: (from, upto) of records that are gone lawfully.
    """

    name: str
    key_id: str = ""
    host: str = ""
    boot: str = ""
    pid: int = 0
    sdk: str = ""
    size: int | None = None
    root: str | None = None
    recovered: dict[str, Any] | None = None
    segments: list[tuple[int, int, str]] = field(default_factory=list)
    pruned: list[tuple[int, int]] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether nothing is going to be added."""
        return self.size is not None


class ManifestLines:
    """Lines of a manifest, from its first one on.

    A ledger has two lines for each process that ever wrote it, so they are kept as they are stored, and few are parsed.

    Attributes:
        end: Bytes that were read: whole lines.
        number: Of the last line.
        leaf: Its hash.
        tree: Over all of them.
        damaged: How many are not what they should be.
        ledger_id: As the first line says it, None where it does not.
        keys: Ids of the keys that were in use, the latest last.
    """

    def __init__(self) -> None:
        self.end = 0
        self.number = 0
        self.leaf = bytes(merkle.SIZE)
        self.tree = merkle.Range()
        self.damaged = 0
        self.ledger_id: str | None = None
        self.keys: list[str] = []
        self._found: list[tuple[str, bytes]] = []  # event, and line as stored
        self._lanes: dict[str, LaneFacts] = {}
        self._told = 0  # of what was found, by `_lanes`
        self._open: dict[str, None] = {}
        self._looked = 0  # the same, by `_open`

    def take(self, lines: Iterable[bytes]) -> None:
        """Take further lines, without newlines. What cannot be read is counted and passed over."""
        leaves: list[bytes] = []
        for line in lines:
            head = b'{"v":1,"n":%d,"prev":"%b","ts":"' % (self.number + 1, hexlify(self.leaf))
            at = len(head) + _MOMENT + len(_EVENT)
            event: str | None
            if line.startswith(head) and line.startswith(_EVENT, at - len(_EVENT)) and line.endswith(b"}"):
                self.number += 1
                event = line[at : line.find(b'"', at)].decode(errors="replace")
            else:
                event = self._otherwise(line)
            self.end += len(line) + 1
            self.leaf = merkle.leaf(line)
            leaves.append(self.leaf)
            if event is not None:
                self._found.append((event, line))
                if event in _BEGINNING:
                    self._begin(event, line)
        self.tree.extend(leaves)

    def _otherwise(self, line: bytes) -> str | None:
        """Take a line that is not as this release writes it; return its event."""
        found = parsed(line)
        if found is None or found["n"] != self.number + 1 or found.get("prev") != self.leaf.hex():
            self.damaged += 1
        self.number = self.number + 1 if found is None else found["n"]
        return None if found is None else found["event"]

    def _begin(self, event: str, line: bytes) -> None:
        found = (parsed(line) or {}).get("ledger" if event == "ledger" else "key_id")
        if isinstance(found, str):
            if event == "key":
                self.keys.append(found)
            elif self.ledger_id is None:
                self.ledger_id = found

    def content(self, *events: str) -> list[dict[str, Any]]:
        """Return what lines say: those of some events, or all."""
        chosen = (parsed(line) for event, line in self._found if not events or event in events)
        return [each for each in chosen if each is not None]

    def knows(self, lane: str) -> bool:
        """Tell whether a lane has this name."""
        said = orjson.dumps({"lane": lane})[1:-1]
        return any(said in line for _, line in self._found)

    def open_lanes(self) -> list[str]:
        """Return the names of the lanes that were not closed, the oldest first."""
        for event, line in islice(self._found, self._looked, None):
            if event in {"open", "close"}:
                begin = line.find(_LANE) + len(_LANE)  # half of what parsing costs, at every start of a process
                name = line[begin : line.find(b'"', begin)].decode(errors="replace")
                if event == "close":
                    self._open.pop(name, None)
                elif _LANE in line and _NAME.fullmatch(name):
                    self._open[name] = None
        self._looked = len(self._found)
        return list(self._open)

    def lanes(self) -> dict[str, LaneFacts]:
        """Return what is said of each lane, in the order in which they began."""
        for event, line in islice(self._found, self._told, None):
            found = parsed(line) if event in _OF_LANES else None
            name = None if found is None else found.get("lane")
            if found is not None and isinstance(name, str) and _NAME.fullmatch(name):
                facts = self._lanes.setdefault(name, LaneFacts(name))
                with contextlib.suppress(KeyError, TypeError, ValueError):  # a newer release may say it otherwise
                    _tell(facts, found)
        self._told = len(self._found)
        return dict(self._lanes)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line's content, None where it is none of a manifest."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    good = isinstance(found, dict) and isinstance(found.get("event"), str) and isinstance(found.get("n"), int)
    return cast("dict[str, Any]", found) if good else None


def _tell(facts: LaneFacts, line: Mapping[str, Any]) -> None:
    event = line["event"]
    if event == "open":
        facts.key_id, facts.host, facts.boot = str(line["key_id"]), str(line["host"]), str(line["boot"])
        facts.pid, facts.sdk = int(line["pid"]), str(line["sdk"])
    elif event == "segment":
        facts.segments.append((int(line["first"]), int(line["last"]), str(line["root_at_last"])))
    elif event == "close":
        facts.size, facts.root, facts.recovered = int(line["size"]), str(line["root"]), line.get("recovered")
    else:
        facts.pruned.append((int(line["from"]), int(line["upto"])))
