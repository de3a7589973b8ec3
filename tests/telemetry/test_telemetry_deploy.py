"""The dashboard and the alert rules that come with the library speak of metrics that there are, and do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from guardrail.cli.app import build
from guardrail.telemetry import names

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "guardrail.json"
KNOWN = {
    f"{metric.prometheus}{suffix}": {*metric.labels, *(["le"] if suffix == "_bucket" else []), "job", "instance"}
    for metric in names.METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus has it"
)


def rules() -> list[dict[str, object]]:
    """Return the alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    """Return what the dashboard asks."""
    document = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in document["panels"] for target in panel.get("targets", ())]
    return asked + [variable["definition"] for variable in document["templating"]["list"] if "definition" in variable]


def queries() -> list[str]:
    """Return every query of both."""
    return [str(rule["expr"]) for rule in rules()] + dashboard_queries()


def test_every_metric_that_is_asked_for_exists() -> None:
    """By name, with only such labels as it has, and such values as its labels can have."""
    asked: set[str] = set()
    for query in queries():
        for name, labels in re.findall(r"\b(guardrail_\w+)(?:\{([^}]*)\})?", query):
            asked.add(name)
            assert name in KNOWN, query
            assert set(re.findall(r"(\w+)\s*[=!]", labels)) <= KNOWN[name], query
        for grouped in re.findall(r"\bby \(([^)]*)\)", query):
            allowed = set.union(*(KNOWN[name] for name in re.findall(r"\bguardrail_\w+", query)))
            assert {label.strip() for label in grouped.split(",")} <= allowed, query
        for end in re.findall(r'le="([^"]*)"', query):
            assert float(end) in names.SHARES, query
    shown = {metric for metric in names.METRICS if any(name.startswith(metric.prometheus) for name in asked)}
    assert shown == set(names.METRICS)  # and none is left out of both


def test_every_command_that_an_alert_names_exists() -> None:
    """Whoever is woken can type it."""
    tree = typer.main.get_command(build())
    told = [
        command
        for rule in rules()
        for text in rule["annotations"].values()
        for command in re.findall(r"`guardrail ([^`]*)`", text)
    ]
    assert told
    for command in told:
        here = tree
        for word in command.split():
            if getattr(here, "commands", None) is None:
                break
            here = here.commands[word]
        options = {name for parameter in here.params for name in parameter.opts}
        assert set(re.findall(r"--\w+", command)) <= options


def test_panels_do_not_overlap() -> None:
    """Each has an id and a place of its own."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


@needs_promtool
def test_prometheus_accepts_the_rules() -> None:
    """Debian's promtool reads them."""
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_rules_fire_when_they_should_and_not_otherwise() -> None:
    """Each rule over time series that should wake somebody, and over such as should not."""
    tested = RULES.with_name("alerts_test.yml")
    named = set(re.findall(r"alertname: (\w+)", tested.read_text()))
    assert named == {str(rule["alert"]) for rule in rules()}
    done = subprocess.run(
        ["promtool", "test", "rules", tested.name], cwd=tested.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_parses_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """Put into rules, with Grafana's variables replaced by what they stand for."""
    asked = [query for query in dashboard_queries() if not query.startswith("label_values")]
    plain = [query.replace("$__rate_interval", "5m").replace("$guard", ".*") for query in asked]
    document = {
        "groups": [{"name": "dashboard", "rules": [{"record": f"panel:{at}", "expr": each} for at, each in enumerate(plain)]}]
    }
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_accepts_the_text() -> None:
    """`promtool check metrics`, over every kind of metric."""
    from traced_calls import make_entry, make_plan

    from guardrail.telemetry import prometheus, stats

    stats.take([make_entry(plan=make_plan(cache_words={"answered": "miss"}), attempts=2, extra={"stages": {"look up": 0.1}})])
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=prometheus.text()[0], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
