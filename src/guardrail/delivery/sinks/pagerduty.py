"""Calls people through PagerDuty's Events API v2: one incident for each guard and kind of trouble, however many records tell of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

import orjson

from guardrail.delivery import http
from guardrail.delivery.address import COMMON, Address, Option, choice
from guardrail.delivery.answers import Answer
from guardrail.delivery.plain import SEVERITIES, Severity, guard, kind, parsed, severity, why
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

_PAUSE: Final = 30.0  # seconds; they ask for minutes, and pauses grow
_KEY: Final = 255  # characters of a dedup_key
_SUMMARY: Final = 1024


class PagerDutySink:
    """The sink of `pagerduty://ROUTING_KEY@events.pagerduty.com`.

    Args:
        address: Where, the integration's key as user, with options.

    Raises:
        ConfigError: There is no key, or it would be sent in plain text.
    """

    SECRET_PATH: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "dedup": Option(
            choice("kind", "guard", "record"), "kind",
            "what makes one incident: a guard and what happened, a guard, or each record",
        ),
        "least": Option(choice(*SEVERITIES), "warning", "records below this severity call nobody"),
        "linger": COMMON["linger"]._replace(default=1.0),  # what comes together is one incident
        **http.options(),
    }  # fmt: skip
    caps = Caps(items=100)

    def __init__(self, address: Address) -> None:
        if address.user is None or address.password is not None or address.path.strip("/"):
            raise ConfigError(
                f"{address.where} does not give the integration's key alone",
                hint='write "pagerduty://${file:/run/secrets/pagerduty}@events.pagerduty.com"',
            )
        self._where, self._name, self._routing_key = address.where, address.name, address.user
        self._dedup: str = address.options["dedup"]
        self._least = SEVERITIES.index(address.options["least"])
        self._client = http.Client.of(address)

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send one event for each incident that a batch tells of; what calls nobody has arrived."""
        results: list[Result] = [ok] * len(batch)
        incidents: dict[str, list[int]] = {}
        records = [parsed(item) for item in batch]
        for place, record in enumerate(records):
            if SEVERITIES.index(severity(record)) >= self._least:
                incidents.setdefault(self._incident(batch[place], record), []).append(place)
        stopped: Result | None = None
        for name, places in incidents.items():
            found = stopped or self._trigger(name, batch[places[0]], records[places[0]], len(places))
            if found.kind == "retry":
                stopped = found  # who does not answer is not asked again for each of the others
            for place in places:
                results[place] = found
        return results

    def probe(self) -> str:
        """End an incident that there never was: PagerDuty checks the key, and calls nobody.

        Raises:
            ConfigError: It is not taken.
        """
        answer = self._post("resolve", f"guardrail/test/{self._name}"[:_KEY])
        return answer.proof(self._where, "the end of an incident that never was")

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _trigger(self, name: str, item: Item, record: Mapping[str, Any], many: int) -> Result:
        level: Severity = severity(record)
        payload: dict[str, Any] = {
            "summary": summary(record, many),
            "source": guard(record) or "guardrail",
            "severity": level,
            "component": guard(record) or "guardrail",
            "class": kind(record),
            "custom_details": {"first": item.id, "records": many},
        }
        answer = self._post("trigger", name, payload=payload)
        result = answer.result(alone=True)
        if answer.status == HTTPStatus.BAD_REQUEST and b"routing" in answer.body.lower():
            return retry(answer.after, "HTTP 400: it does not know the routing key", credentials=True)
        if result.kind == "retry":
            return result._replace(after=max(_PAUSE, result.after or 0.0))
        return result

    def _post(self, action: str, name: str, **more: object) -> Answer:
        event = {"routing_key": self._routing_key.reveal(), "event_action": action, "dedup_key": name, **more}
        return self._client.post("/v2/enqueue", orjson.dumps(event), {"Content-Type": "application/json"})

    def _incident(self, item: Item, record: Mapping[str, Any]) -> str:
        who = str(record.get("guard") or "")
        if self._dedup == "record":
            name = f"guardrail/{item.id}"
        else:
            name = f"guardrail/{who}" + (f"/{kind(record)}" if self._dedup == "kind" else "")
        if len(name) <= _KEY:
            return name
        return name[: _KEY - 33] + "/" + hashlib.sha256(name.encode()).hexdigest()[:32]


def summary(record: Mapping[str, Any], many: int) -> str:
    """Return one line about records of one incident, without anything of what they were about."""
    who, reason = guard(record), why(record)
    line = (
        kind(record)
        + (f" by {who}" if who else "")
        + (f" ({reason})" if reason else "")
        + (f", {many} times" if many > 1 else "")
    )
    return line[:_SUMMARY]
