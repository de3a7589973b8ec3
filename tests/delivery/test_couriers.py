"""Delivery beside a running program: nobody waits for a sink, forks and ends lose nothing, and another process goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import orjson
import pytest
from made import known

from guardrail import flush, guarded, notices, settings, shutdown
from guardrail.delivery import couriers
from guardrail.delivery.keeping import FileKeeping
from guardrail.ledger import reader, writer

PROGRAM = """
import os, sys, time
sys.path.insert(0, {here!r})
import made
made.known()
from guardrail import flush, guarded, shutdown

@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x

{body}
"""


def program(home: Path, url: str, body: str, **more: str) -> subprocess.Popen[str]:
    """Start a program with a sink."""
    env = {**os.environ, "GUARDRAIL_SINK_OUT": url, "GUARDRAIL_HOME": str(home), **more}
    text = PROGRAM.format(here=str(Path(__file__).parent), body=body)
    return subprocess.Popen([sys.executable, "-c", text], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(home: Path, url: str, body: str, **more: str) -> tuple[str, float]:
    """Run a program with a sink to its end; return what it printed, and how long its end took, by its own clock."""
    child = program(home, url, body, **more)
    out, problem = child.communicate(timeout=60)
    assert child.returncode in {0, 9}, problem
    return out, time.time()


def arrived(path: Path) -> list[tuple[str, dict]]:
    """Return id and content of what is in a sink's file."""
    if not path.exists():
        return []
    return [(line.split(b" ", 1)[0].decode(), orjson.loads(line.split(b" ", 1)[1])) for line in path.read_bytes().splitlines()]


def stored(home: Path) -> set[str]:
    """Return the ids of everything that the ledger has."""
    from guardrail.ledger.wanted import Wanted

    return {f"{each.lane}/{each.seq}" for each in reader.stored(Wanted(), home)}


@pytest.fixture
def use(monkeypatch, tmp_path):
    known(monkeypatch)

    def begin(url: str) -> Path:
        path = tmp_path / "arrived"
        monkeypatch.setenv("GUARDRAIL_SINK_OUT", url.format(path=path))
        settings.reset()
        return path

    return begin


def record(kind: str, **fields: object) -> None:
    """Record an event and wait until it is durable."""
    writer.event(kind, guard="g", fields=fields)
    assert writer.flush(5)


def test_everything_arrives_once_as_the_ledger_has_it(home, use):
    """The same ids, the same bytes, in the same order; `flush` waits for it."""
    path = use("test://host{path}")
    for _ in range(120):
        record("ticket")
    assert flush(10)
    lines = [line for _, line in arrived(path)]
    assert lines == list(reader.read(home))
    assert len({each for each, _ in arrived(path)}) == len(lines) == 121


def test_a_sink_that_hangs_delays_neither_the_ledger_nor_others(home, use, monkeypatch, tmp_path):
    """Each has a thread of its own; the one that hangs is said to."""
    path = use("test://host{path}")
    monkeypatch.setenv("GUARDRAIL_SINK_SLOW", "test://hang/nowhere")
    settings.reset()
    record("ticket")
    out = couriers._rounds["out"]
    assert out.wait(out.ask(), time.monotonic() + 10)
    assert not flush(0.05)
    assert [each["event"] for each in reader.read(home)] == ["config", "ticket"]
    assert len(arrived(path)) == 2
    couriers._rounds["slow"].courier.sending_since -= 1_000
    record("ticket")
    assert (None, "sink-slow-hangs") in notices.counts()


def test_flush_says_what_has_not_arrived(home, use):
    """A sink that refuses has not got it: False, and the ledger has everything."""
    use("test://refuse/nowhere")
    record("ticket")
    assert not flush(0.3)
    assert "refuses" in notices.counts()[None, "sink-out"][1]
    assert len(list(reader.read(home))) == 2


def test_couriers_follow_the_settings(home, use, monkeypatch):
    """A sink that is configured away gets no more; one that comes back gets what was recorded meanwhile."""
    path = use("test://host{path}")
    record("ticket")
    assert flush(5)
    monkeypatch.delenv("GUARDRAIL_SINK_OUT")
    settings.reset()
    record("feedback")
    assert not couriers._rounds
    use("test://host{path}")
    record("override")
    assert flush(5)
    assert [line["event"] for _, line in arrived(path)] == ["config", "ticket", "feedback", "override"]


def test_a_process_of_its_own_delivers_only_its_own(home, use, tmp_path):
    """As to its standard output: what others make is theirs to show."""
    path = use("own://host{path}")
    record("ticket")
    other = tmp_path / "other"
    run(home, f"own://host{other}", "predict(1)")
    assert flush(5)
    assert [line["event"] for _, line in arrived(path)] == ["config", "ticket"]
    assert [line["event"] for _, line in arrived(other)].count("call") == 1


def test_what_the_end_of_a_process_leaves_arrives(tmp_path):
    """A short program writes its last records as it ends, when no thread can be started any more."""
    home, path = tmp_path / "own", tmp_path / "arrived"
    run(home, f"test://host{path}", "predict(1)")
    assert {each for each, _ in arrived(path)} == stored(home)


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_a_sink_that_is_away_holds_up_no_exit(tmp_path, how):
    """Within three seconds, and the next process delivers what is left, in order."""
    home, path = tmp_path / "own", tmp_path / "arrived"
    body = "import atexit\natexit.register(lambda: print(time.time()))\nfor x in range(60): predict(x)\nbegun = time.time()"
    child = program(home, f"test://{how}/nowhere", body + "\nprint(begun)")
    out, problem = child.communicate(timeout=60)
    begun = float(out.split()[0])
    assert time.time() - begun < 3.0 + 1.0, problem  # a second for the interpreter's own end on a busy machine
    run(home, f"test://host{path}", "predict(1)")
    seen = arrived(path)
    assert {each for each, _ in seen} == stored(home)
    first = seen[0][0].rpartition("/")[0]
    assert [int(each.rpartition("/")[2]) for each, _ in seen if each.startswith(first)] == sorted(
        int(each.rpartition("/")[2]) for each, _ in seen if each.startswith(first)
    )


def test_a_process_killed_between_sending_and_remembering_loses_nothing(tmp_path):
    """The next one sends that batch again with the same ids and bytes: duplicates can be removed."""
    home, path = tmp_path / "own", tmp_path / "arrived"
    run(home, f"test://die{path}", "for x in range(20): predict(x)\nflush(10)")
    before = arrived(path)
    assert before
    run(home, f"test://host{path}", "predict(1)")
    seen = arrived(path)
    assert {each for each, _ in seen} == stored(home)
    assert len({(each, orjson.dumps(line)) for each, line in seen}) == len(stored(home))


def test_a_forked_child_delivers_for_itself_and_leaves_its_parent_alone(tmp_path):
    """Both lanes arrive, whoever serves the sink."""
    home, path = tmp_path / "own", tmp_path / "arrived"
    body = """
predict(1)
flush(10)
pid = os.fork()
if pid == 0:
    predict(2)
    shutdown(5)
    os._exit(0)
os.waitpid(pid, 0)
predict(3)
flush(10)
"""
    run(home, f"test://host{path}", body)
    seen = arrived(path)
    assert {each for each, _ in seen} == stored(home)
    assert len({each.rpartition("/")[0] for each, _ in seen}) == 2


def test_a_full_disk_stops_no_delivery(home, use, monkeypatch):
    """The cursor cannot be written: things arrive all the same, once more after the next start at worst."""
    path = use("test://host{path}")
    record("ticket")
    assert flush(5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("guardrail.delivery.keeping.disk.replace", full)
    record("feedback")
    until = time.monotonic() + 10
    while len(arrived(path)) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert [line["event"] for _, line in arrived(path)] == ["config", "ticket", "feedback"]


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x


def test_a_call_starts_no_courier_where_no_sink_is(home):
    """Whoever has none pays for none: not even the import."""
    predict(1)
    assert flush(5)
    assert not couriers._rounds
    assert shutdown(5)


def test_workers_of_a_preloaded_gunicorn_all_deliver(tmp_path):
    """A call is made before the workers are forked; theirs and its records all arrive, whoever serves the sink."""
    home, path = tmp_path / "own", tmp_path / "arrived"
    body = "predict(0)\nflush(10)\ndef app(environ, start):\n    predict(1)\n    start('200 OK', [])\n    return [b'%d' % os.getpid()]\n"
    (tmp_path / "service.py").write_text(PROGRAM.format(here=str(Path(__file__).parent), body=body))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}", "service:app"]
    env = {**os.environ, "GUARDRAIL_SINK_OUT": f"test://host{path}", "GUARDRAIL_HOME": str(home)}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log)
    try:
        answered: set[bytes] = set()
        until = time.monotonic() + 30
        while len(answered) < 2:
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    answered.add(answer.read())
            except OSError:
                time.sleep(0.05)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    run(home, f"test://host{path}", "predict(2)")  # whoever died first has left the rest to the next
    seen = arrived(path)
    assert {each for each, _ in seen} == stored(home)
    assert len({line["pid"] for _, line in seen if line["event"] == "call"}) == 4


def test_an_end_does_not_wait_for_a_sink_that_another_process_serves(home, use):
    """That one goes on; a command beside a service is back at once."""
    use("test://host/nowhere")
    other = FileKeeping(home, "out")
    assert other.hold()
    record("ticket")
    out = couriers._rounds["out"]
    until = time.monotonic() + 10
    while not out.courier.looked:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not out.worth_waiting
    assert not flush(0.2)
    begun = time.monotonic()
    shutdown(20)
    assert time.monotonic() - begun < 10
    other.release()
