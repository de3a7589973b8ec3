"""The small examples, a failure mode each."""

import json
import re
import sys
from pathlib import Path


def test_callers_of_a_hung_dependency_are_back_on_time(example, run):
    """With the last good price, or the list price; and once enough calls are left behind, at once. Each left its record."""
    lines = example("hung_dependency").splitlines()
    found = [re.search(r"(\d+\.\d+)  (\w+) +after +(\d+) ms", line) for line in lines[:-1]]
    prices, outcomes, took = zip(*(match.groups() for match in found), strict=True)
    assert prices == ("1.20", "1.20", "2.00", "1.20", "1.20", "1.20", "1.20")
    assert outcomes == ("answered", *["fallback"] * 6)
    waited, refused = [int(ms) for ms in took[1:5]], [int(ms) for ms in took[5:]]
    assert min(waited) >= 200
    assert max(refused) < min(waited)
    assert lines[-1].endswith(": 4")
    records = run(str(Path(sys.executable).with_name("guardrail")), "tail", "--guard", "price", "--json").splitlines()
    assert [json.loads(record)["outcome"] for record in records] == list(outcomes)


def test_edge_cases_go_to_a_person_whose_answer_is_used(example, folder):
    """Sure answers come at once and are better than the others would have been; a decided case is answered by the person."""
    printed = example("edge_cases")
    total, answered, deferred = map(int, re.match(r"(\d+) digits: (\d+) answered, (\d+) deferred", printed).groups())
    assert answered + deferred == total == 597
    sure, unsure = (float(share) for share in re.findall(r"([\d.]+)% of", printed))
    assert unsure < sure
    assert "(human)" in printed
    assert f"{deferred - 1} tickets are open" in printed
    assert (folder / ".guardrail").is_dir()
    assert f"{answered} answered, 1 human, {deferred - 1} deferred" in example("edge_cases")
