"""agent-governance-toolkit-core: `govern(fn, policy=…)`, and its own audit log with a file sink."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool

_ALLOW = """
apiVersion: governance.toolkit/v1
name: open
default_action: allow
rules: []
"""
_KEY = b"a key for the gauntlet, 32 bytes."


class Adapter(Tool):
    name = "agent-governance-toolkit-core"
    requirements = ("agent-governance-toolkit-core==5.0.0",)
    about = "`govern(fn, policy=…)` with rules on `action.type`; for the record `AuditLog(sink=FileAuditSink(…))`"
    claims = frozenset({"wrap", "sync", "callable", "check", "audit", "durable", "tamper"})

    def start(self, home: Path) -> None:
        super().start(home)
        from agentmesh.governance import audit, audit_backends, govern

        self.govern, self.audit, self.backends = govern, audit, audit_backends
        self.file = home / "audit.jsonl"

    def wrap(self, fn: Function) -> Any:
        return self.govern(fn, policy=_ALLOW)

    def checked(self, fn: Function, parameter: str, allowed: Sequence[str]) -> Any:
        rules = "".join(
            f"  - name: allow-{each}\n    condition: \"action.type == '{each}'\"\n    action: allow\n    priority: 10\n"
            for each in allowed
        )
        head = "apiVersion: governance.toolkit/v1\nname: closed\ndefault_action: deny\nrules:\n"
        return self.govern(fn, policy=head + rules)

    def audited(self, fn: Function) -> Any:
        log = self.audit.AuditLog(sink=self.backends.FileAuditSink(self.file, _KEY))

        @functools.wraps(fn)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            try:
                value = fn(*args, **kwargs)
            except Exception:
                log.log(event_type="tool_invocation", agent_did="did:agent:one", action=fn.__name__, outcome="error")
                raise
            log.log(
                event_type="tool_invocation",
                agent_did="did:agent:one",
                action=fn.__name__,
                outcome="success",
                data={"value": value},
            )
            return value

        return recorded

    def recorded(self) -> int:
        return len(self.file.read_bytes().splitlines())

    def intact(self) -> bool:
        found = self.backends.HashChainVerifier().verify_file(self.file, _KEY)
        return bool(found[0] if isinstance(found, tuple) else found)

    def audit_files(self) -> list[Path]:
        return [self.file]
