"""What the tests of the ledger over PostgreSQL need: a home that uses a database, and a look into it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

import guardrail
from guardrail import lifecycle, settings
from guardrail.ledger.postgres.source import Rows
from guardrail.ledger.trust import own_keys
from guardrail.ledger.verify import verify

PROCESS = """
import sys, time
from guardrail import guarded, flush
from guardrail.ledger import writer

@guarded(name="loans", version="1", audit="sync")
def predict(x: int) -> int:
    return x + 1

print("ready", flush=True)
{body}
"""


def use(url, **more):
    guardrail.configure(service="tests", database_url=url, **more)


def end():
    assert lifecycle.finish_all(10)


def rows(url, query="SELECT lane, seq, line FROM guardrail_ledger ORDER BY lane, seq", values=()):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


def verified(url, **more):
    source = Rows(url)
    try:
        return verify(source, own_keys(settings.home(create=False)), **more)
    finally:
        source.finish()


def process(url, home: Path, body: str) -> subprocess.Popen[str]:
    env = {**os.environ, "GUARDRAIL_DATABASE_URL": url, "GUARDRAIL_SERVICE": "tests", "GUARDRAIL_HOME": str(home)}
    command = [sys.executable, "-c", PROCESS.format(body=body)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def spooled(home: Path) -> list[Path]:
    return sorted((home / "ledger-spool").glob("*/*.jsonl"))
