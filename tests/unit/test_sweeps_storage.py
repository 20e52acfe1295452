"""Where a search is kept: storages that cannot be used, outages, half a line, and a heartbeat that is no time."""

import math
import sys

import optuna
import pytest
import sqlalchemy

from common.settings import UserError
from common.sweeps import __main__, search, searching, storage
from common.sweeps.storage import Storage
from tests.unit import sweep_cases
from tests.unit.sweep_cases import line_of, stopping

lab = sweep_cases.lab


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nosuch://u:hunter2@host/db", "no sweep storage of the kind 'nosuch'; give sqlite"),
        ("mysql://u:hunter2@host/db", "a mysql sweep storage needs the Python package MySQLdb; install it"),
        ("postgresql://u:hunter2@127.0.0.1:1/db", r"postgresql://127.0.0.1:1/db cannot be used \(.*refused"),
        ("postgres://u:hunter2@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db cannot be used"),
        ("hunter2", "SWEEP_STORAGE names no storage; give sqlite"),
        ("sqlite://", "cannot be kept in memory"),
        ("sqlite:///:memory:", "cannot be kept in memory"),
        ("sqlite://sweeps.db", "names a host, and SQLite has none; give sqlite:///FILE, with three slashes"),
        ("sqlite:///file:sweeps.db?uri=true", "has a file: URL in it; give the file's path, as sqlite:///FILE"),
        ("journal:", "SWEEP_STORAGE names no storage; give sqlite"),
        ("sqlite:///{folder}/text.txt", "text.txt cannot be used .*not a database"),
        ("sqlite:///{folder}/text.txt/sweeps.db", "cannot write .*text.txt: (Not a directory|File exists)"),
        ("journal:{folder}/text.txt", "journal .*text.txt cannot be read"),
        ("journal:{folder}/text.txt/sweeps.journal", "cannot write .*text.txt: (Not a directory|File exists)"),
        ("sqlite:////proc/nowhere/sweeps.db", "cannot write /proc/nowhere"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_the_password(lab, monkeypatch, url, says):
    (lab.folder / "text.txt").write_text("neither database\nnor journal\n")
    monkeypatch.setenv("SWEEP_STORAGE", url.format(folder=lab.folder))
    with pytest.raises(UserError, match=says) as error:
        search(lab.sweep, objective=lab.objective)
    assert "hunter2" not in line_of(error) and not lab.candidates
    assert (lab.folder / "text.txt").read_text().startswith("neither"), "what is not ours is left as it was"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        *(("sqlite:///mysweeps.db", "mysweeps.db"), ("sqlite:///sub/dir/x y.db", "sub/dir/x y.db")),
        *(("sqlite+pysqlite:///x.db?timeout=5", "x.db"), ("sqlite:///../{name}/x.db", "x.db")),
        *(("journal:sub/s.journal", "sub/s.journal"), ("sub/s.journal", "sub/s.journal"), ("x.log", "x.log")),
        *(("journal:./s.journal", "s.journal"), ("journal://s.journal", "s.journal"), ("journal:~/j", "home/j")),
        *(("journal:{root}/x.log", "x.log"), ("sqlite:///{root}/x.db", "x.db"), ("sqlite:///~/x.db", "home/x.db")),
    ],
)
def test_a_relative_storage_is_one_in_every_folder_of_the_repository(tmp_path, monkeypatch, url, place):
    """A notebook's kernel is in sft/, `python -m common.sweeps` in the root; elsewhere both are where they are."""
    root = tmp_path / "repository"
    (root / "sft").mkdir(parents=True)
    monkeypatch.setattr("common.settings.ROOT", root)
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.setenv("SWEEP_STORAGE", url.format(root=root, name=root.name))
    for folder in (root / "sft", root):
        monkeypatch.chdir(folder)
        assert storage.missing() == str(root / place)
    full = storage.in_full()
    monkeypatch.setattr("common.settings.ROOT", tmp_path / "another repository")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_STORAGE", full)
    assert storage.missing() == str(root / place), "what a command leaves to its kernels"


@pytest.mark.parametrize("url", ["sqlite:///sub/mysweeps.db", "journal:sub/s.journal"])
def test_a_search_of_a_notebook_is_listed_in_the_root(lab, tmp_path, monkeypatch, capsys, url):
    (tmp_path / "sft").mkdir()
    monkeypatch.setattr("common.settings.ROOT", tmp_path)
    monkeypatch.setenv("SWEEP_STORAGE", url)
    monkeypatch.chdir(tmp_path / "sft")
    with pytest.raises(KeyboardInterrupt):
        search(lab.sweep, objective=stopping(lab, 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweeps", "list"])
    assert __main__.main() == 0
    assert capsys.readouterr().out == f"{lab.sweep.id}  stage 1: 1/6  stage 2: 0/3\n"
    assert [path.name for path in (tmp_path / "sft").iterdir()] == [] and len(list((tmp_path / "sub").iterdir())) == 1


def test_a_storage_that_code_names_counts_from_where_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("common.settings.ROOT", tmp_path)
    (tmp_path / "sft").mkdir()
    monkeypatch.chdir(tmp_path / "sft")
    assert Storage("journal:s.journal").where == str(tmp_path / "sft" / "s.journal")


def test_what_is_no_file_stays_as_it_is(monkeypatch):
    for url in ("postgresql://u:p%40ss@host/db?sslmode=require", "nonsense", "journal:", "sqlite://"):
        monkeypatch.setenv("SWEEP_STORAGE", url)
        assert storage.in_full() == url


def test_a_password_in_a_drivers_own_words_is_taken_out():
    store = object.__new__(Storage)
    store._address, store.where = storage._parse("postgresql://u:hunter2@host/db"), "postgresql://host/db"
    try:
        raise optuna.exceptions.StorageInternalError("failed") from Exception(
            "no entry for u with hunter2\nDETAIL: hunter2"
        )
    except optuna.exceptions.StorageInternalError as error:
        line = str(store._down(error))
    assert "(no entry for u with <password>)" in line and "hunter2" not in line


def test_two_who_make_the_tables_at_once_do_not_stumble(lab, monkeypatch):
    real, calls = storage.RDBStorage, []

    def beaten(url, **options):
        calls.append(url)
        if len(calls) < 3:
            raise sqlalchemy.exc.OperationalError("CREATE TABLE studies", {}, Exception("table studies already exists"))
        return real(url, **options)

    monkeypatch.setattr(storage, "RDBStorage", beaten)
    assert Storage(f"sqlite:///{lab.folder / 'new.db'}").call("get_all_studies") == [] and len(calls) == 3


def failing(store: Storage, method: str, times: float) -> None:
    """`method` of the storage finds the database away, `times` times."""
    real, rest = getattr(store._storage, method), [times]

    def call(*args, **kwargs):
        rest[0] -= 1
        if rest[0] >= 0:
            cause = sqlalchemy.exc.OperationalError(
                "SELECT", {}, Exception("server closed the connection: hunter2\nmore")
            )
            raise optuna.exceptions.StorageInternalError("failed") from cause
        return real(*args, **kwargs)

    setattr(store._storage, method, call)


def test_an_outage_is_waited_out_and_a_long_one_loses_nothing(lab, monkeypatch):
    store = Storage()
    monkeypatch.setattr(searching, "Storage", lambda url: store)
    folders, retrials = [], []

    def objective(sweep, candidate):
        candidate.folder.mkdir(parents=True, exist_ok=True)
        if candidate.id == "sft-lora-s1-02" and not folders:
            folders.append(candidate.folder)
            (candidate.folder / "trained").write_text("hours of work")
            failing(store, "set_trial_user_attr", math.inf)
        elif candidate.id == "sft-lora-s1-02":
            assert (candidate.folder / "trained").read_text() == "hours of work"
            retrials.append(candidate)
        return lab.objective(sweep, candidate)

    with pytest.raises(
        UserError, match=r"sweeps.journal cannot be used \(server closed the connection.*goes on where"
    ) as error:
        search(lab.sweep, objective=objective)
    assert "more" not in line_of(error)
    assert (folders[0] / "trained").exists(), "the trained model waits for the storage"
    store = Storage()
    monkeypatch.setattr(storage, "PATIENCE", 300.0)
    failing(store, "create_new_trial", 2)
    result = search(lab.sweep, objective=objective)
    assert len(result.trials) == 9 and len(retrials) == 1
    assert not (lab.folder / "sweeps" / lab.sweep.id).exists()


def test_half_a_line_in_a_journal_is_dropped(lab):
    path = lab.folder / "sweeps.journal"
    with pytest.raises(KeyboardInterrupt):
        search(lab.sweep, objective=stopping(lab, 3), storage=str(path))
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"killed in mid-wri')
    assert len(search(lab.sweep, objective=lab.objective, storage=str(path)).trials) == 9


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "often"])
def test_a_heartbeat_that_is_no_time_is_refused(lab, monkeypatch, text):
    monkeypatch.setenv("SWEEP_HEARTBEAT", text)
    with pytest.raises(UserError, match=f"SWEEP_HEARTBEAT={text} is no number of seconds"):
        search(lab.sweep, objective=lab.objective)
