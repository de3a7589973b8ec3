"""The command `guardrail`. Nothing heavy is imported before it runs."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of this process; it ends the process with the command's exit code."""
    from guardrail.cli.app import run

    run()
