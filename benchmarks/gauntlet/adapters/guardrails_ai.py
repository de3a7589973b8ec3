"""guardrails-ai: a `Guard` with a validator of one's own for one argument; it is no decorator, so the few lines around it are ours."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "guardrails-ai"
    requirements = ("guardrails-ai==0.11.0",)
    about = "`Guard().use(validator).validate(text)` on one argument, before the function is called; it validates texts, and is no decorator"
    claims = frozenset({"sync", "method", "check"})

    def start(self, home: Path) -> None:
        os.environ["OTEL_SDK_DISABLED"] = "true"
        super().start(home)
        (home / ".guardrailsrc").write_text("id=none\nenable_metrics=false\nuse_remote_inferencing=false\n")
        import guardrails
        from guardrails import validators

        self.guardrails, self.validators = guardrails, validators

    def checked(self, fn: Function, parameter: str, allowed: Sequence[str]) -> Any:
        validators = self.validators

        @validators.register_validator(name="gauntlet/allowed", data_type="string")
        class Allowed(validators.Validator):
            def _validate(self, value: Any, metadata: dict[str, Any]) -> Any:
                if value in allowed:
                    return validators.PassResult()
                return validators.FailResult(error_message="not allowed")

        guard, signature = self.guardrails.Guard().use(Allowed(on_fail="exception")), inspect.signature(fn)

        @functools.wraps(fn)
        def asked_first(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            guard.validate(bound.arguments[parameter])
            return fn(*args, **kwargs)

        return asked_first
