"""A search by several processes on each kind of storage: killed, stopped and started again, and a real PostgreSQL."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from common.sweeps import search, sweep
from common.sweeps.storage import Storage
from tests.unit import sweep_process
from tests.unit.sweep_process import DEATHS, PLAN, SPACE, TRIALS, basis, notes, objective

IDS = [f"sft-lora-s1-0{i}" for i in range(6)] + [f"sft-lora-s2-0{i}" for i in range(3)]
PASSWORD = "p@ss/word:1"


@contextmanager
def postgres(folder: Path):
    """The URL of a server of our own, gone afterwards."""
    binaries = [*Path("/usr/lib/postgresql").glob("*/bin"), *([p.parent] if (p := which("initdb")) else [])]
    if not binaries:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql); its path is not tested")
    pytest.importorskip("psycopg", reason="psycopg is not installed; the PostgreSQL path is not tested")
    as_user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root cannot run PostgreSQL and there is no user postgres; its path is not tested")
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, secret = folder / "data", folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    initdb = [
        str(binaries[0] / "initdb"),
        "-D",
        str(data),
        "-U",
        "sweeper",
        "--auth=scram-sha-256",
        f"--pwfile={secret}",
    ]
    subprocess.run([*as_user, *initdb, "--no-sync", "-E", "UTF8"], check=True, capture_output=True, cwd="/")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off".split()
    url = f"postgresql://sweeper:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
    server = subprocess.Popen(
        [*as_user, str(binaries[0] / "postgres"), "-D", str(data), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        wait_until(lambda: answers(url) or server.poll() is not None)
        assert server.poll() is None, "PostgreSQL ended at its start"
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: connections are cut
        server.wait(300)


def answers(url: str) -> bool:
    """Whether the server takes connections: it listens before it does."""
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=60).close()
    except psycopg.OperationalError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def which(name: str) -> Path | None:
    return Path(path).resolve() if (path := shutil.which(name)) else None


@pytest.fixture(autouse=True)
def same_ids(monkeypatch):
    """Ids as in the processes."""
    monkeypatch.setattr(sweep, "_basis", basis)


@pytest.fixture(scope="module")
def server():
    # Not under pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        with postgres(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def place(request, tmp_path, monkeypatch):
    """A place of its own and a storage of each kind; short heartbeats."""
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEP_HEARTBEAT", "0.2")
    url = {"sqlite": f"sqlite:///{tmp_path / 'a.db'}", "journal": f"journal:{tmp_path / 'a.journal'}"}.get(
        request.param
    )
    if url is None:
        url = request.getfixturevalue("server")
        with_own_tables(url)
    monkeypatch.setenv("SWEEP_STORAGE", url)
    return tmp_path


def with_own_tables(url: str) -> None:
    """An empty database: each test starts where nobody has made a table."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


def start(log: Path, workers: int = 1, silence: int = 10_000, **options) -> subprocess.Popen:
    options |= {"workers": workers, "silence": silence}
    command = [sys.executable, sweep_process.__file__, "work", str(log), json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def table_of(worker: subprocess.Popen) -> dict:
    out, error = worker.communicate(timeout=600)
    assert worker.returncode == 0, error[-2000:]
    return json.loads(out)


def states() -> Counter:
    """How many attempts the storage holds, by what became of them."""
    store = Storage()
    study = store.call("get_study_id_from_name", PLAN.id)
    return Counter(trial.state.name for trial in store.call("get_all_trials", study))


def test_workers_share_the_trials_and_take_up_that_of_a_killed_one(place):
    log = place / "log"
    # All at once, on a storage that none has seen; one is killed in the middle of its first trial.
    dies, one, two = (start(log, workers=3, meets=meets) for meets in (signal.SIGKILL, None, None))
    first, second = table_of(one), table_of(two)
    dies.communicate()
    assert dies.returncode == -signal.SIGKILL
    assert first == second, "all agree on the result"
    rows = [dict(zip(first["columns"], row, strict=True)) for row in first["data"]]
    assert [row["trial"] for row in rows] == IDS
    assert len({json.dumps([row[name] for name in SPACE]) for row in rows[:6]}) == 6, "no two draw the same candidate"
    assert [row["promoted"] for row in rows].count(True) == 4
    trained = notes(log)
    assert {one.pid, two.pid} <= {note["pid"] for note in trained}
    killed = [note["id"] for note in trained if note["pid"] == dies.pid]
    assert Counter(note["id"] for note in trained) == Counter(IDS) + Counter(killed), "once, but that one"
    assert len({note["recipe"] for note in trained if note["id"] in killed}) == len(killed), "and with the same values"
    for note in trained:
        if note["id"] in killed and note["pid"] != dies.pid:
            assert note["checkpoints"] == [f"1-{dies.pid}"], "it goes on from the checkpoint of the one that is dead"
    assert states()["COMPLETE"] == 9 and states()["RUNNING"] == 0
    assert not list((place / "sweeps").rglob("*"))


def test_a_worker_that_was_stuck_finds_its_trial_taken_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEP_HEARTBEAT", "0.2")
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{tmp_path / 'a.journal'}")
    log = tmp_path / "log"
    stuck = start(log, at="s1-02", meets=signal.SIGSTOP)
    while not (tmp_path / "log.met").exists():
        assert stuck.poll() is None, stuck.stderr.read()
        time.sleep(0.02)
    rival = start(log, silence=6)
    other = table_of(rival)  # it waits six heartbeats for a sign of life of the one that still has its process
    stuck.send_signal(signal.SIGCONT)
    assert table_of(stuck) == other and [row[1] for row in other["data"]] == IDS
    assert Counter(note["id"] for note in notes(log)) == Counter(IDS) + Counter({"sft-lora-s1-02": 1})
    assert states() == {"COMPLETE": 9, "FAIL": 1}
    # Both trained it to the end, each in a folder in which nobody else wrote, and neither folder is left.
    twice = [note for note in notes(log.with_suffix(".ends")) if note["id"] == "sft-lora-s1-02"]
    assert {note["pid"] for note in twice} == {stuck.pid, rival.pid}
    assert len({note["folder"] for note in twice}) == 2
    assert all(note["checkpoints"] == [f"1-{note['pid']}", f"2-{note['pid']}"] for note in twice)
    assert not list((tmp_path / "sweeps").rglob("*"))


def test_a_search_killed_anywhere_ends_as_one_that_never_was(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{tmp_path / 'whole.journal'}")
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    whole = search(PLAN, objective=objective(tmp_path / "log")).trials.to_json(orient="split", double_precision=15)
    recipes = {note["id"]: note["recipe"] for note in notes(tmp_path / "log")}
    # A process of its own forks: a fork of this one would inherit half of the threads of other tests.
    process = subprocess.run(
        [sys.executable, sweep_process.__file__, "die", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    results = json.loads(process.stdout)
    assert len(results) == len(DEATHS) * len(TRIALS)
    for result in results:
        assert result["signal"] == signal.SIGKILL, result["at"]
        assert result["table"] == json.loads(whole), result["at"]
        assert {note["id"]: note["recipe"] for note in result["log"]} == recipes, result["at"]
        assert len(result["log"]) <= 10, "only the one that was killed may be trained again"
        assert result["remains"] == [], result["at"]


def test_a_url_without_a_driver_and_a_wrong_password(server, monkeypatch):
    from common.settings import UserError

    assert "psycopg" in type(Storage(server)._storage.engine.dialect).__name__.lower()
    with pytest.raises(UserError, match="postgresql://127.0.0.1:.*password authentication failed") as error:
        Storage(server.replace(quote(PASSWORD, safe=""), "wr0ng"))
    assert "wr0ng" not in str(error.value) and "sweeper:" not in str(error.value) and "\n" not in str(error.value)


def test_a_server_that_stops_in_mid_search_is_one_line_and_nothing_is_lost(tmp_path, monkeypatch):
    from common.settings import UserError
    from common.sweeps import storage

    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(storage, "PATIENCE", 0.5)
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    log = tmp_path / "log"
    plain = objective(log)
    try:
        with postgres(folder) as url, pytest.raises(UserError, match="cannot be used.*goes on where it was") as error:
            search(PLAN, objective=stopping(plain, folder), storage=url)
        assert quote(PASSWORD, safe="") not in str(error.value) and PASSWORD not in str(error.value)
        assert list((tmp_path / "sweeps" / PLAN.id).glob("sft-lora-s1-01.*/training/2-*"))
    finally:
        shutil.rmtree(folder)


def stopping(plain, folder: Path):
    def train(sweep, candidate):
        outcome = plain(sweep, candidate)
        if candidate.id.endswith("s1-01"):
            pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGINT)
            wait_until(lambda: not (folder / "data" / "postmaster.pid").exists())  # the last thing that it does
        return outcome

    return train
