"""`python deploy/pictures.py`: the README's pictures, made from a real run of the lending example. Needs Chromium for two of them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs" / "pictures"
LOAD = """
import threading, time
from guardrail import Prediction, guarded, stage

line = threading.Lock()

@guarded(name="loans", version="3.2.0", budget="250ms")
def predict(income: float, debts: float) -> Prediction[str]:
    with stage("bureau"), line:  # one connection for all
        time.sleep(0.012)
    with stage("model"):
        time.sleep(0.004)
    share = debts / income
    return Prediction("approve" if share < 0.4 else "refuse", min(1.0, 0.5 + 2 * abs(share - 0.4)))
"""


def main() -> None:
    """Make all three."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"GUARDRAIL_HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "config")}
        guard_and_review(folder)
        load(folder)


def guard_and_review(folder: Path) -> None:
    """Let the lending example decide on real applications; draw its card and its first open case."""
    sys.path.insert(0, str(ROOT))
    from examples.lending import bureau_server
    from examples.lending.__main__ import _histories
    from examples.lending.data import load as loans
    from examples.lending.service import predict
    from rich.console import Console

    from guardrail import batch, guard_of, review
    from guardrail.cli import review_session, text

    known, held_out = loans()
    with bureau_server.running(_histories(known, held_out)):
        batch(predict, held_out.applications, progress=False)
    shot(folder, "card", f"<div style='padding:16px'>{guard_of(predict)._repr_html_()}</div>", 800, 480)
    screen = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    text.console = review_session.console = lambda **_: screen  # type: ignore[assignment]
    claim = review.claim("credit-desk", actor="anna")
    assert claim is not None
    screen.rule()
    from guardrail.cli.review_text import draw

    draw(claim.details, session=True)
    review_session._keys(claim)
    (PLACE / "review.svg").write_text(screen.export_svg(title="guardrail review"), encoding="utf-8")


def load(folder: Path) -> None:
    """Find out where a budget breaks."""
    (folder / "loans.py").write_text(textwrap.dedent(LOAD))
    rows = [{"income": 5000.0, "debts": 100.0 * number} for number in range(1, 40)]
    (folder / "applicants.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [
        "load",
        "loans:predict",
        "--data",
        "applicants.jsonl",
        "--rate",
        "10..120",
        "--duration",
        "5s",
        "--report",
        "load.html",
    ]
    subprocess.run([Path(sys.executable).with_name("guardrail"), *command], cwd=folder, check=False)
    shot(folder, "load", (folder / "load.html").read_text(encoding="utf-8"), 1000, 780)


def shot(folder: Path, name: str, html: str, width: int, height: int) -> None:
    """Have Chromium draw a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium)")
    page = folder / f"{name}.html"
    page.write_text(
        html if "<html" in html else f"<!doctype html><meta charset=utf-8><body style='background:#fff'>{html}", encoding="utf-8"
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
        f"--user-data-dir={folder}/browser",
    ]
    subprocess.run(
        [browser, *options, f"--window-size={width},{height}", f"--screenshot={PLACE / name}.png", page.as_uri()],
        check=True, capture_output=True, timeout=90,
    )  # fmt: skip


if __name__ == "__main__":
    main()
