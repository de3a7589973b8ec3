"""Tells a Slack channel what happened, in counts and ids; never what a decision was about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from guardrail.delivery import http
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.answers import Answer
from guardrail.delivery.plain import guard, kind, parsed, why
from guardrail.delivery.sink import Caps, Item, Result, retry
from guardrail.errors import ConfigError

_MOST: Final = 200  # records of one message
_LINES: Final = 20
_ID: Final = re.compile(r"[A-Za-z0-9/_.:-]{1,64}")
_GONE: Final = frozenset({"no_service", "no_active_hooks", "no_team", "team_disabled", "invalid_token", "channel_not_found"})


class SlackSink:
    """The sink of `slack://hooks.slack.com?webhook=…`: one message for each batch, at most one a second.

    Args:
        address: The host; the rest of the webhook's URL is a secret, and an option.

    Raises:
        ConfigError: There is no webhook, or it would be sent in plain text.
    """

    SECRET_PATH: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "webhook": Option(None, None, "the incoming webhook: its whole URL, or the path"),
        # Slack takes about one message a second: a full one is paid for with a second, one that is not full waits for a second.
        "rate": COMMON["rate"]._replace(default=(_MOST, 1.0)),
        "linger": COMMON["linger"]._replace(default=1.0),
        **http.options(),
    }
    caps = Caps(items=_MOST)

    def __init__(self, address: Address) -> None:
        self._webhook = address.options["webhook"]
        if self._webhook is None or address.path.strip("/") or address.user is not None or address.password is not None:
            raise ConfigError(
                f"{address.where} does not say which webhook",
                hint='write "slack://hooks.slack.com?webhook=${file:/run/secrets/slack}"',
            )
        self._where, self._name, self._host = address.where, address.name, address.host
        self._client = http.Client.of(address)

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Post one message about a batch; it arrives or fails as a whole."""
        if not batch:
            return []
        answer = self._post(message(batch))
        result = answer.result(alone=len(batch) == 1)
        if result.kind != "ok" and answer.body.strip().decode(errors="replace") in _GONE:
            result = retry(answer.after, f"HTTP {answer.status}: the webhook is gone", credentials=True)
        return [result] * len(batch)

    def probe(self) -> str:
        """Post a message that says what it is.

        Raises:
            ConfigError: It is not taken.
        """
        return self._post(f"A test message of guardrail, for the sink {escaped(self._name)}.").proof(
            self._where, "a test message"
        )

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _post(self, words: str) -> Answer:
        body = orjson.dumps({"text": words, "unfurl_links": False, "unfurl_media": False})
        return self._client.post(self._path(), body, {"Content-Type": "application/json"})

    def _path(self) -> str:
        found = str(self._webhook.reveal()).strip()
        if "://" in found:
            host, _, found = found.partition("://")[2].partition("/")
            if host.partition(":")[0].lower() != self._host:
                raise ConfigError(
                    f"{self._webhook.where} is of another host than the URL of the sink",
                    hint="write the host of the webhook into the URL",
                )
        return "/" + found.removeprefix("/")


def message(batch: Sequence[Item]) -> str:
    """Return what is told of a batch: how many of what, of which guard, and their ids."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for item in batch:
        record = parsed(item)
        found.setdefault((guard(record), kind(record), why(record)), []).append(_name(item, record))
    groups = sorted(found.items(), key=lambda each: -len(each[1]))
    lines = [_line(*group, ids) for group, ids in groups[:_LINES]]
    rest = sum(len(ids) for _, ids in groups[_LINES:])
    if rest:
        lines.append(f"and {rest} more of {len(groups) - _LINES} other kinds")
    return "\n".join(lines)


def escaped(words: str) -> str:
    """Return a text in which nothing is a mention, a link or an entity (https://docs.slack.dev, formatting text)."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(name: str, what: str, reason: str, ids: Sequence[str]) -> str:
    of = f" by {name}" if name else ""
    because = f" ({reason})" if reason else ""
    which = ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
    return escaped(f"{len(ids)} {what}{of}{because}: {which}")


def _name(item: Item, record: Mapping[str, Any]) -> str:
    """Return what `guardrail show` finds a record by."""
    found = record.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else item.id
