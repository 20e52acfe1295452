"""Where a search is kept: storages that cannot be used, outages, half a line, and a heartbeat that is no time."""

import math

import optuna
import pytest
import sqlalchemy

from common.settings import UserError
from common.sweeps import search, searching, storage
from common.sweeps.storage import Storage
from tests.unit import sweeping
from tests.unit.sweeping import line_of, stopping

made = sweeping.made


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nosuch://u:hunter2@host/db", "no sweep storage of the kind 'nosuch'; give sqlite"),
        ("mysql://u:hunter2@host/db", "a mysql sweep storage needs the Python package MySQLdb; install it"),
        ("postgresql://u:hunter2@127.0.0.1:1/db", r"postgresql://127.0.0.1:1/db cannot be used \(.*refused"),
        ("postgres://u:hunter2@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db cannot be used"),
        ("hunter2", "SWEEP_STORAGE names no storage; give sqlite"),
        ("sqlite://", "cannot be kept in memory"),
        ("sqlite:///{folder}/text.txt", "text.txt cannot be used .*not a database"),
        ("sqlite:///{folder}/text.txt/sweeps.db", "cannot write .*text.txt: (Not a directory|File exists)"),
        ("journal:{folder}/text.txt", "journal .*text.txt cannot be read"),
        ("journal:{folder}/text.txt/sweeps.journal", "cannot write .*text.txt: (Not a directory|File exists)"),
        ("sqlite:////proc/nowhere/sweeps.db", "cannot write /proc/nowhere"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_the_password(made, monkeypatch, url, says):
    (made.folder / "text.txt").write_text("neither database\nnor journal\n")
    monkeypatch.setenv("SWEEP_STORAGE", url.format(folder=made.folder))
    with pytest.raises(UserError, match=says) as error:
        search(made.sweep, objective=made.objective)
    assert "hunter2" not in line_of(error) and not made.trained
    assert (made.folder / "text.txt").read_text().startswith("neither"), "what is not ours is left as it was"


def test_a_password_in_a_drivers_own_words_is_taken_out():
    store = object.__new__(Storage)
    store._parsed, store.where = storage._parse("postgresql://u:hunter2@host/db"), "postgresql://host/db"
    try:
        raise optuna.exceptions.StorageInternalError("failed") from Exception(
            "no entry for u with hunter2\nDETAIL: hunter2"
        )
    except optuna.exceptions.StorageInternalError as error:
        said = str(store._down(error))
    assert "(no entry for u with <password>)" in said and "hunter2" not in said


def test_two_who_make_the_tables_at_once_do_not_stumble(made, monkeypatch):
    real, calls = storage.RDBStorage, []

    def beaten(url, **options):
        calls.append(url)
        if len(calls) < 3:
            raise sqlalchemy.exc.OperationalError("CREATE TABLE studies", {}, Exception("table studies already exists"))
        return real(url, **options)

    monkeypatch.setattr(storage, "RDBStorage", beaten)
    assert Storage(f"sqlite:///{made.folder / 'new.db'}").call("get_all_studies") == [] and len(calls) == 3


def failing(store: Storage, method: str, times: float) -> None:
    """`method` of the storage finds the database away, `times` times."""
    real, left = getattr(store._storage, method), [times]

    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] >= 0:
            cause = sqlalchemy.exc.OperationalError(
                "SELECT", {}, Exception("server closed the connection: hunter2\nmore")
            )
            raise optuna.exceptions.StorageInternalError("failed") from cause
        return real(*args, **kwargs)

    setattr(store._storage, method, call)


def test_an_outage_is_waited_out_and_a_long_one_loses_nothing(made, monkeypatch):
    store = Storage()
    monkeypatch.setattr(searching, "Storage", lambda url: store)
    folders = []

    def objective(sweep, candidate):
        candidate.folder.mkdir(parents=True, exist_ok=True)
        if candidate.id == "sft-lora-s1-02" and candidate.folder not in folders:
            folders.append(candidate.folder)
            (candidate.folder / "trained").write_text("hours of work")
            failing(store, "set_trial_user_attr", math.inf)
        return made.objective(sweep, candidate)

    with pytest.raises(
        UserError, match=r"sweeps.journal cannot be used \(server closed the connection.*goes on where"
    ) as error:
        search(made.sweep, objective=objective)
    assert "more" not in line_of(error)
    assert (folders[0] / "trained").exists(), "the trained model waits for the storage"
    store = Storage()
    monkeypatch.setattr(storage, "PATIENCE", 5.0)
    failing(store, "create_new_trial", 2)
    found = search(made.sweep, objective=objective)
    assert len(found.trials) == 9 and not folders[0].exists()


def test_half_a_line_in_a_journal_is_dropped(made):
    path = made.folder / "sweeps.journal"
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 3), storage=str(path))
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"killed in mid-wri')
    assert len(search(made.sweep, objective=made.objective, storage=str(path)).trials) == 9


@pytest.mark.parametrize("told", ["0", "-1", "nan", "inf", "often"])
def test_a_heartbeat_that_is_no_time_is_refused(made, monkeypatch, told):
    monkeypatch.setenv("SWEEP_HEARTBEAT", told)
    with pytest.raises(UserError, match=f"SWEEP_HEARTBEAT={told} is no number of seconds"):
        search(made.sweep, objective=made.objective)
