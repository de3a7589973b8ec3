"""The other process of the self-test: it gets a guarded function and calls, and sends back what came of them."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

NOT_IMPORTABLE: Final = 3  # exit code: the function's module cannot be imported here


def main() -> int:
    """Read from stdin, write to stdout; whatever the function prints goes to stderr."""
    import cloudpickle  # noqa: PLC0415 - the process that started this one has it

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    packed = sys.stdin.buffer.read()
    try:
        fn, samples = cloudpickle.loads(packed)
    except ImportError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - for the process that started this one
        return NOT_IMPORTABLE
    from guardrail.testing.subject import Subject  # noqa: PLC0415

    subject = Subject(fn, [])
    answers = []
    for sample in samples:
        ran: Any = subject.call(sample)
        try:
            cloudpickle.dumps(ran)
        except Exception:  # noqa: BLE001 - whatever the user's class raises
            ran = None
        answers.append(ran)
    subject.loop.close()
    with out:
        out.write(cloudpickle.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
