"""The files of Label Studio: tasks to import with the labelling configuration for them, and what its JSON export says.

Format: https://labelstud.io/guide/task_format. Whoever annotates is shown text only, never HTML of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import orjson

from guardrail.errors import ConfigError
from guardrail.review import heard as heard_in
from guardrail.review import reasons
from guardrail.review.forms import ANSWER, NOTE, REASON, VERDICT, Form, Task, Written
from guardrail.review.heard import Heard

NAME: Final = "Label Studio"
_PLEASE: Final = "export the project as JSON (not as JSON-MIN or CSV)"
_ABOUT: Final = "about"
_CASE: Final = "case"


def files(tasks: Sequence[Task], form: Form, queue: str, *, blind: bool) -> dict[str, bytes]:
    """Return what to write, by what it is called: "" for the tasks, ".xml" for the configuration of the project."""
    del queue  # the project has a name of its own
    return {"": orjson.dumps([_task(each, form) for each in tasks]), ".xml": configuration(form, blind=blind).encode()}


def configuration(form: Form, *, blind: bool) -> str:
    """Return the labelling configuration for a form, as XML.

    Args:
        form: What is asked.
        blind: Whether the model's answer is hidden.
    """
    lines = [
        "<View>",
        _tag("Header", value="The case"),
        _tag("Table", name=_CASE, value=f"${_CASE}"),
        _tag("Table", name=_ABOUT, value=f"${_ABOUT}"),
        _tag("Header", value="Your answer"),
    ]
    options = form.options(blind=blind)
    if form.kind == "choice":
        lines += _choices(ANSWER, options, required="true")
    elif form.kind == "number":
        lines.append(_tag("Number", name=ANSWER, toName=_CASE))
    else:
        lines.append(_text(ANSWER, "text" if form.kind == "text" else "JSON, such as the model's own answer"))
    if form.kind != "choice":
        lines += [_tag("Header", value="What it counts as", size="5"), *_choices(VERDICT, options)]
    lines += [
        _tag("Header", value="Why", size="5"),
        *_choices(REASON, reasons.allowed()),
        _text(NOTE, "a note for the next reader"),
    ]
    return "\n".join([*lines, "</View>"]) + "\n"


def _choices(name: str, labels: Sequence[str], **more: str) -> list[str]:
    opened = _tag("Choices", name=name, toName=_CASE, choice="single", showInline="true", **more).replace("/>", ">")
    return [opened, *(f"  {_tag('Choice', value=label)}" for label in labels), "</Choices>"]


def _text(name: str, placeholder: str) -> str:
    return _tag("TextArea", name=name, toName=_CASE, placeholder=placeholder, maxSubmissions="1", editable="true", rows="2")


def _tag(tag: str, **attributes: str) -> str:
    return f"<{tag} {' '.join(f'{name}={quoteattr(text)}' for name, text in attributes.items())}/>"


def _task(task: Task, form: Form) -> dict[str, Any]:
    made: dict[str, Any] = {"data": {"ticket": task.ticket, _CASE: task.case, _ABOUT: task.about}, "meta": task.facts}
    if task.suggestion is not None:
        kind, value = {
            "choice": ("choices", {"choices": [task.suggestion]}),
            "number": ("number", {"number": task.suggestion}),
        }.get(form.kind, ("textarea", {"text": [task.suggestion]}))
        said = {"id": ANSWER, "from_name": ANSWER, "to_name": _CASE, "type": kind, "value": value}
        prediction: dict[str, Any] = {"model_version": f"{task.facts['guard']} {task.facts['version']}", "result": [said]}
        if task.sure is not None:
            prediction["score"] = task.sure
        made["predictions"] = [prediction]
    return made


def heard(text: bytes) -> Iterator[Heard]:
    """Yield what people said, from a JSON export.

    Raises:
        ConfigError: It is none.
    """
    yield from heard_in.read(text, NAME, "export", please=_PLEASE, rows=_tasks, said=_heard)


def _tasks(content: Any) -> Any:
    whole = isinstance(content, list) and all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in content)
    return content if whole else None


def _heard(tasks: Sequence[Mapping[str, Any]]) -> Iterator[Heard]:
    for task in tasks:
        ticket, facts = task["data"].get("ticket"), task.get("meta")
        blind = isinstance(facts, dict) and facts.get("model_answer") == "hidden"
        for annotation in task.get("annotations") or ():
            if not isinstance(annotation, dict):
                raise ConfigError(f"this is no export of {NAME}: an annotation is no object", hint=_PLEASE)
            yield Heard(
                ticket=ticket if isinstance(ticket, str) else None,
                person=_person(annotation.get("completed_by")),
                state="skipped" if annotation.get("was_cancelled") else "submitted",
                written=_written(annotation.get("result")),
                blind=blind,
            )


def _person(given: Any) -> str | None:
    """Return who annotated: an e-mail address where the export names it, else the number of the user."""
    if isinstance(given, Mapping):
        given = given.get("email") or given.get("id")
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) else None


def _written(result: Any) -> Written:
    found: dict[str, Any] = {}
    for each in result if isinstance(result, list) else ():
        value = each.get("value") if isinstance(each, dict) else None
        if isinstance(value, dict) and each.get("from_name") in Written._fields:
            one = next((value[name] for name in ("choices", "text", "number") if name in value), None)
            found[each["from_name"]] = _one(one)
    return Written(**found)


def _one(value: Any) -> Any:
    """Return what a list of one holds; several texts are one of several lines."""
    if not isinstance(value, list):
        return value
    return value[0] if len(value) == 1 else "\n".join(str(each) for each in value) or None
