"""A process that is forked while the ledger's thread is still being born."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from guardrail.ledger import reader

PROGRAM = """
import os
from guardrail import flush, guarded
predict = guarded(lambda x: x, name="score")
predict(1)
children = []
for at in range(5):
    children.append(os.fork())
    if not children[-1]:
        predict(2)
        os._exit(0 if flush(20) else 1)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
assert flush(20)
"""


def test_children_forked_right_after_the_first_call_write_their_records(home: Path) -> None:
    """The parent's thread is in the middle of its imports then, which no child could ever finish."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]  # newer Pythons warn of forks in general
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    found = list(reader.read(home, event="call"))
    assert len(found) == len({record["pid"] for record in found}) == 6
