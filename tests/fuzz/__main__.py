"""`python tests/fuzz SECONDS`: every parser under atheris, which finds its way by the branches that an input takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def one(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one parser; the process ends with another status than 0 if it finds anything."""
    import atheris

    os.environ |= {
        "GUARDRAIL_HOME": str(folder / "home"),
        "XDG_CONFIG_HOME": str(folder / "configuration"),
        "FUZZ_FOLDER": str(folder),
    }
    with atheris.instrument_imports(include=["guardrail"]):
        from targets import TARGETS
    target = TARGETS[name]
    corpus = folder / name.replace(" ", "-")
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-max_len=8192", "-verbosity=0"], target.run)
    atheris.Fuzz()


def main() -> None:
    """Fuzz them one after the other, each in a process of its own."""
    from targets import TARGETS

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    seconds, wrong = int(sys.argv[1]) if sys.argv[1:] else 60, []
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for name in TARGETS:
            done = subprocess.run(
                [sys.executable, __file__, str(seconds), name, folder],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            sys.stdout.write(f"{'FAIL' if done.returncode else 'ok  '} {name}\n{done.stderr[-3000:] if done.returncode else ''}")
            sys.stdout.flush()
            wrong += [name] if done.returncode else []
    sys.exit(int(bool(wrong)))


if __name__ == "__main__":
    if len(sys.argv) == 4:  # seconds, parser, folder
        one(sys.argv[2], int(sys.argv[1]), Path(sys.argv[3]))
    else:
        main()
