"""Guards whose calls are about people, and a way to look for what they said in every file there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel

from guardrail import PII, Secret, Subject, flush
from guardrail.ledger import reader
from guardrail.ledger.keys import config_folder

NAME, ID, PASSWORD = "Ann Okonkwo-Smythe", "customer-9173", "correct horse battery"


class Applicant(BaseModel):
    id: Annotated[str, Subject]
    name: Annotated[str, PII]
    password: Annotated[str, Secret] = PASSWORD
    income: float = 5000.0


ANN = Applicant(id=ID, name=NAME)
BOB = Applicant(id="customer-2", name="Bob Fitzwilliam")


def records(**wanted):
    """Return what is recorded once all of it is."""
    assert flush()
    return list(reader.read(**{"event": ("call", "row"), **wanted}))


def files(*more: Path) -> list[Path]:
    """Return every file under the home, the configuration folder and other places."""
    from guardrail import settings

    roots = [settings.home(create=False), config_folder(), *more]
    return [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]


def holding(*texts: str, more: tuple[Path, ...] = ()) -> set[str]:
    """Return the names of the files in which a text stands in clear."""
    return {path.name for path in files(*more) for text in texts if text.encode() in path.read_bytes()}
