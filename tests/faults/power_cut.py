"""A file system in memory that loses, when its power is cut, whatever was not synced. Linux, libfuse 2, fusepy.

    python power_cut.py MOUNTPOINT STATE [SEED]

It begins with the files of the folder STATE. On SIGUSR1 the power is cut: what survives is written to STATE, and it ends. Without
a seed nothing survives that was not synced: no byte of a file behind its last sync, no name in a folder behind the folder's. With
one, of each file and each folder chance decides: some blocks of what was not synced are there, or their room is, full of zeros.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

from fuse import FUSE, FuseOSError, Operations

BLOCK = 4_096


class Node:
    """A file or a folder: as it is now, and as the disk has it."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.now: Any = {} if stat.S_ISDIR(mode) else bytearray()
        self.kept: Any = {} if stat.S_ISDIR(mode) else b""

    def sync(self) -> None:
        self.kept = dict(self.now) if stat.S_ISDIR(self.mode) else bytes(self.now)


class PowerCut(Operations):
    """See the module. One thread serves it."""

    def __init__(self, state: str, seed: str | None) -> None:
        self.state = Path(state)
        self.chance = None if seed is None else random.Random(seed)
        self.top = self.loaded(self.state)
        self.open_files: dict[int, Node] = {}
        self.handle = 0
        signal.signal(signal.SIGUSR1, lambda *_: self.cut())

    def loaded(self, path: Path) -> Node:
        node = Node(path.stat().st_mode)
        node.now = {each.name: self.loaded(each) for each in path.iterdir()} if path.is_dir() else bytearray(path.read_bytes())
        node.sync()
        return node

    # ── the cut ──
    def cut(self) -> None:
        after = self.state.with_name(self.state.name + ".after")
        self.survive(self.top, after)
        shutil.rmtree(self.state)
        after.rename(self.state)
        os._exit(0)

    def survive(self, node: Node, path: Path) -> None:
        lucky = self.chance is not None and self.chance.random() < 0.5
        if stat.S_ISDIR(node.mode):
            path.mkdir()
            for name, each in (node.now if lucky else node.kept).items():
                self.survive(each, path / name)
        else:
            path.write_bytes(self.torn(node) if lucky else node.kept)
        path.chmod(stat.S_IMODE(node.mode))

    def torn(self, node: Node) -> bytes:
        """Return a file of which the disk had begun to write what was not synced."""
        assert self.chance is not None
        kept, now = node.kept, bytes(node.now)
        size = self.chance.randint(min(len(kept), len(now)), len(now))
        found = bytearray(kept[:size].ljust(size, b"\0"))
        for at in range(0, size, BLOCK):
            if self.chance.random() < 0.5:
                found[at : at + BLOCK] = now[at : min(at + BLOCK, size)]
        return bytes(found)

    # ── what the kernel asks ──
    def node(self, path: str) -> Node:
        found = self.top
        for name in path.strip("/").split("/") if path != "/" else ():
            try:
                found = found.now[name]
            except (KeyError, TypeError):
                raise FuseOSError(errno.ENOENT) from None
        return found

    def parent(self, path: str) -> tuple[Any, str]:
        folder, _, name = path.rpartition("/")
        return self.node(folder or "/").now, name

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self.node(path) if fh is None else self.open_files.get(fh) or self.node(path)
        size = 0 if stat.S_ISDIR(node.mode) else len(node.now)
        return {
            "st_mode": node.mode,
            "st_size": size,
            "st_nlink": 1,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_blocks": -(-size // 512),
        }

    def readdir(self, path: str, _fh: int) -> list[str]:
        return [".", "..", *self.node(path).now]

    def opened(self, node: Node) -> int:
        self.handle += 1
        self.open_files[self.handle] = node
        return self.handle

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        folder, name = self.parent(path)
        folder[name] = Node(stat.S_IFREG | stat.S_IMODE(mode))
        return self.opened(folder[name])

    def open(self, path: str, flags: int) -> int:
        return self.opened(self.node(path))

    def release(self, path: str, fh: int) -> int:
        self.open_files.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self.open_files[fh].now[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        content = self.open_files[fh].now
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        content = (self.node(path) if fh is None else self.open_files[fh]).now
        del content[length:]
        content.extend(bytes(length - len(content)))

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self.open_files[fh].sync()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self.node(path).sync()
        return 0

    def mkdir(self, path: str, mode: int) -> None:
        folder, name = self.parent(path)
        folder[name] = Node(stat.S_IFDIR | stat.S_IMODE(mode))

    def unlink(self, path: str) -> None:
        folder, name = self.parent(path)
        del folder[name]

    rmdir = unlink

    def link(self, target: str, source: str) -> None:
        folder, name = self.parent(target)
        folder[name] = self.node(source)

    def rename(self, old: str, new: str) -> None:
        (before, name), (after, other) = self.parent(old), self.parent(new)
        after[other] = before.pop(name)

    def chmod(self, path: str, mode: int) -> int:
        node = self.node(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        return 0


if __name__ == "__main__":
    FUSE(PowerCut(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None), sys.argv[1], foreground=True, nothreads=True)
