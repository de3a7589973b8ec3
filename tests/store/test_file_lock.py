"""The lock between processes, over a fork."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from guardrail.store import file_lock


def test_a_forked_child_lets_go_of_nothing_but_its_own(tmp_path: Path) -> None:
    """It closes what it inherited once; its next file may have that number, and stays open when the lock is forgotten."""
    lock = file_lock.held(tmp_path / "lock")
    lock.__enter__()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            others = [os.open(tmp_path / "lock", os.O_RDONLY) for _ in range(8)]
            del lock
            gc.collect()
            for fd in others:
                os.fstat(fd)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    with file_lock.held(tmp_path / "lock", block=False) as mine:
        assert not mine  # the parent still has it
    lock.__exit__(None, None, None)
    with file_lock.held(tmp_path / "lock", block=False) as mine:
        assert mine
