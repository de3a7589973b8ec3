"""`guardrail audit erase`, `subjects` and `unseal` at a terminal, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from guardrail import PII, Audit, Subject, flush, guarded, settings
from guardrail.ledger import reader
from guardrail.ledger.keys import config_folder

NAME, ID = "Ann Okonkwo-Smythe", "customer-9173"


class Applicant(BaseModel):
    id: Annotated[str, Subject]
    name: Annotated[str, PII]


def run(*words, stdin=""):
    command = [str(Path(sys.executable).with_name("guardrail")), "audit", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


@pytest.fixture
def called():
    """The id of a call about Ann."""

    @guarded(name="loans", audit=Audit(inputs="plain"))
    def predict(applicant: Applicant) -> int:
        return 1

    predict(Applicant(id=ID, name=NAME))
    assert flush()
    (record,) = reader.read(event="call")
    return record["id"]


def test_a_person_is_erased_and_the_ledger_keeps_no_name(called):
    """First what there is, then for good; the id can come from standard input, where no list of processes shows it."""
    planned = run("erase", "--subject", ID, "--dry-run", "--json")
    assert planned.returncode == 0 and json.loads(planned.stdout)["records"] == 1
    shown = run("unseal", called, "--reason", "complaint", "--by", "dpo@bank.example")
    assert json.loads(shown.stdout)["input"]["value"] == {"applicant": {"id": ID, "name": NAME}}
    assert run("subjects", "--count").stdout == "1\n"
    done = run("erase", "--subject", "-", "--reason", "asked", stdin=f"{ID}\n")
    assert done.returncode == 0 and "recorded as" in done.stdout and ID not in done.stdout
    assert json.loads(run("unseal", called).stdout)["input"]["value"] == {"applicant": {"id": "[erased]", "name": "[erased]"}}
    assert json.loads(run("subjects", "--json").stdout) == {"living": 0, "erased": 1, "untold": 0}
    assert "erased" in run("subjects").stdout
    events = [record for record in reader.read() if record["event"] in ("read", "erase")]
    assert [(each["event"], each["actor"]["id"]) for each in events][:1] == [("read", "dpo@bank.example")]
    assert [each["event"] for each in events] == ["read", "erase", "read"]
    for root in (settings.home(), config_folder()):
        for path in root.rglob("*"):
            assert not path.is_file() or not any(text.encode() in path.read_bytes() for text in (NAME, ID)), path


def test_what_cannot_be_done_is_one_red_line(called):
    """An unknown record, nobody named, keys that others can read."""
    assert run("unseal", "nothing").returncode == 1
    assert run("erase", "--subject", "").returncode == 2
    (config_folder() / "sealing.key").chmod(0o644)
    refused = run("erase", "--subject", ID)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr and ID not in refused.stderr
    assert "chmod 600" in refused.stderr or "open to other users" in refused.stderr
