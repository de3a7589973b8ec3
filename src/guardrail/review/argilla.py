"""The files of Argilla 2: a folder for `rg.Dataset.from_disk`, and what its records say.

Format: https://docs.argilla.io/latest/how_to_guides/import_export. All fields are plain text, none is Markdown or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from guardrail.review import heard as heard_in
from guardrail.review import reasons
from guardrail.review.forms import ANSWER, NOTE, REASON, VERDICT, Form, Task, Written
from guardrail.review.heard import Heard

NAME: Final = "Argilla"
_PLEASE: Final = "write json.dumps(dataset.records(with_responses=True).to_list(flatten=True)) into a file"
_AGENT: Final = re.compile(r"[^A-Za-z0-9_:./ -]")  # what the server allows in the name of a model
_DATASET: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 200
_MOST_VISIBLE: Final = 20  # options that are shown without unfolding
_LEAST_VISIBLE: Final = 3
_STATES: Final = {"submitted": "submitted", "discarded": "skipped", "draft": "draft", "pending": "draft"}


def files(tasks: Sequence[Task], form: Form, queue: str, *, blind: bool) -> dict[str, bytes]:
    """Return what to write, by its place in the folder."""
    texts = {
        "records.json": [_record(each, form) for each in tasks],
        ".argilla/settings.json": _settings(form, blind=blind),
        ".argilla/dataset.json": {"name": _DATASET.sub("_", queue)[:_LONGEST_NAME], **_distribution(form)},
    }
    return {name: orjson.dumps(each) for name, each in texts.items()}


def _distribution(form: Form) -> dict[str, Any]:
    return {"allow_extra_metadata": True, "distribution": {"strategy": "overlap", "min_submitted": form.reviewers}}


def _settings(form: Form, *, blind: bool) -> dict[str, Any]:
    options = form.options(blind=blind)
    if form.kind == "choice":
        questions = [_labels(ANSWER, "Your answer", options, required=True)]
    else:
        title = {"number": "Your answer: a number", "json": "Your answer, as JSON"}.get(form.kind, "Your answer")
        questions = [_text(ANSWER, title), _labels(VERDICT, "What it counts as", options, required=True)]
    questions += [_labels(REASON, "Why", reasons.allowed(), required=False), _text(NOTE, "A note for the next reader")]
    return {
        "guidelines": None,
        "fields": [_field("case", "The case", required=True), _field("about", "About it", required=False)],
        "questions": questions,
        "vectors": [],
        "metadata": [],
        **_distribution(form),
    }


def _field(name: str, title: str, *, required: bool) -> dict[str, Any]:
    return {"name": name, "title": title, "required": required, "settings": {"type": "text", "use_markdown": False}}


def _text(name: str, title: str) -> dict[str, Any]:
    return _field(name, title, required=False)


def _labels(name: str, title: str, labels: Sequence[str], *, required: bool) -> dict[str, Any]:
    asked = {"type": "label_selection", "options": [{"value": label, "text": label} for label in labels]}
    if len(labels) >= _LEAST_VISIBLE:
        asked["visible_options"] = min(len(labels), _MOST_VISIBLE)  # type: ignore[assignment]
    return {"name": name, "title": title, "required": required, "settings": asked}


def _record(task: Task, form: Form) -> dict[str, Any]:
    suggested: dict[str, Any] = {}
    if task.suggestion is not None:
        value = task.suggestion if form.kind == "choice" or isinstance(task.suggestion, str) else repr(task.suggestion)
        agent = _AGENT.sub("_", f"{task.facts['guard']} {task.facts['version']}")[:_LONGEST_NAME]
        suggested[ANSWER] = {"value": value, "score": task.sure, "agent": agent}
    return {
        "id": task.ticket,
        "fields": {"case": _lines(task.case) or "(nothing)", "about": _lines(task.about)},
        "metadata": dict(task.facts),
        "suggestions": suggested,
        "responses": {},
        "vectors": {},
    }


def _lines(named: Mapping[str, str]) -> str:
    """Return names and texts below each other; what follows in a text is indented, so that it does not look like a name."""
    more = "\n    "
    return "\n".join(more.join(f"{name}: {text}".splitlines()) for name, text in named.items())


def heard(text: bytes) -> Iterator[Heard]:
    """Yield what people said, from records as Argilla's own functions or its API give them.

    Of `records.to_json`, which leaves out what is a draft, an answer counts where the record is complete and only one
    person has answered.

    Raises:
        ConfigError: They are none.
    """
    yield from heard_in.read(text, NAME, "list of records", please=_PLEASE, rows=_records, said=_heard)


def _records(content: Any) -> Any:
    return content.get("items") if isinstance(content, dict) else content  # the API gives them below a name


def _heard(records: Sequence[Mapping[str, Any]]) -> Iterator[Heard]:
    for record in records:
        facts = record["metadata"] if isinstance(record.get("metadata"), dict) else record
        ticket = record.get("external_id") or record.get("id")
        for person, (state, values) in _people(record).items():
            yield Heard(
                ticket=ticket if isinstance(ticket, str) else None,
                person=person,
                state=_STATES.get(str(state), "unclear"),  # type: ignore[arg-type]  # the words are those of Heard
                written=Written(**{name: value for name, value in values.items() if name in Written._fields}),
                blind=facts.get("model_answer") == "hidden",
            )


def _people(record: Mapping[str, Any]) -> dict[str, tuple[str | None, dict[str, Any]]]:
    """Return who has answered a record: the state of it, and the values by question."""
    found: dict[str, tuple[str | None, dict[str, Any]]] = {}
    responses = record.get("responses")
    if isinstance(responses, list):  # of the API
        for each in responses:
            if isinstance(each, dict):
                values = each.get("values") or {}
                found[str(each.get("user_id"))] = (
                    each.get("status"),
                    {name: given.get("value") for name, given in values.items() if isinstance(given, dict)},
                )
    elif isinstance(responses, dict):  # of to_list and to_json
        for question, given in responses.items():
            for each in given or ():
                state, values = found.setdefault(str(each.get("user_id")), (each.get("status"), {}))
                values[question] = each.get("value")
    else:  # of to_list(flatten=True)
        for question in Written._fields:
            said, people, states = (record.get(f"{question}.responses{more}") or [] for more in ("", ".users", ".status"))
            for value, person, state in zip(said, people, states or [None] * len(said), strict=False):
                found.setdefault(str(person), (state, {}))[1][question] = value
    return {person: (state or _told(record, len(found)), values) for person, (state, values) in found.items()}


def _told(record: Mapping[str, Any], people: int) -> str | None:
    """Return the state of answers that do not say it: of one person to a complete record, since somebody has submitted."""
    return "submitted" if record.get("status") == "completed" and people == 1 else None
