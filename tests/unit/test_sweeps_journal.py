"""A journal's lock: what a killed worker, another version or another machine leaves in its place, and half a line."""

import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from common.settings import UserError
from common.sweeps import journal, liveness
from common.sweeps.journal import JournalLock
from common.sweeps.storage import Storage

LINE = b'{"op_code":0,"worker_id":"w","study_name":"s","directions":[1]}\n'
ELSEWHERE = "0123456789ab-1-1-0123abcd"  # a holder on another machine


@pytest.fixture
def path(tmp_path):
    """A journal that nobody has locked; relative paths count from its folder's folder."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "s.journal").write_bytes(LINE)
    return tmp_path / "sub" / "s.journal"


@pytest.fixture(scope="module")
def dead() -> str:
    """What a process that was killed has written into a lock."""
    code = "from common.sweeps import liveness\nprint(liveness.process(), flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name = process.stdout.readline().strip()
    assert liveness.runs(name) is True
    process.kill()
    process.communicate()
    return f"{name}-0123abcd"


def plant(path, text: str, age: float = 0.0):
    """A lock that was taken so many seconds ago."""
    link = path.with_name("s.journal.lock")
    link.symlink_to(text)
    moment = time.time() - age
    os.utime(link, (moment, moment), follow_symlinks=False)
    return link


def seconds(action) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


@pytest.mark.parametrize("url", ["journal:sub/s.journal", "sub/s.journal", "journal:{folder}/sub/s.journal"])
@pytest.mark.parametrize("left", ["sub/s.journal", "{folder}/sub/s.journal", ELSEWHERE, "{dead}"])
def test_a_lock_that_a_killed_worker_left_keeps_nobody_out(path, dead, monkeypatch, url, left):
    """Optuna's own locks too, of which a relative one dangles; the grace period has passed, but for the dead one's."""
    monkeypatch.chdir(path.parents[1])
    facts = {"folder": path.parents[1], "dead": dead}
    link = plant(path, left.format(**facts), 0 if left == "{dead}" else journal.GRACE + 1)
    storage = Storage(url.format(**facts))
    assert storage.where == str(path) and len(storage.call("get_all_studies")) == 1 and not link.is_symlink()


def test_the_lock_of_who_cannot_be_asked_counts_until_its_time_is_over(path):
    for age in (0.0, -3600.0):  # by this machine's clock the second is of the next hour
        plant(path, ELSEWHERE, age)
        lock = JournalLock(path, grace=0.2)
        assert seconds(lock.acquire) >= 0.2
        lock.release()


def test_a_lock_that_changes_hands_is_not_left_behind(path):
    """Its time begins anew with each holder."""
    link, since = plant(path, ELSEWHERE), {}
    lock = JournalLock(path, grace=1000)
    assert not lock._is_left_behind(since, 0)
    since |= dict.fromkeys(since, time.monotonic() - 2000)
    link.unlink()
    plant(path, ELSEWHERE.replace("0123abcd", "0123abce"))
    assert not lock._is_left_behind(since, 0) and link.is_symlink()


def test_a_holder_that_lives_is_waited_for_and_named(path):
    mine = JournalLock(path)
    mine.acquire()
    line = f"^the process {os.getpid()} has held {path}.lock for [1-9][0-9]* s; stop it, or wait and run this again"
    with pytest.raises(UserError, match=line):
        JournalLock(path, grace=0.1, patience=1).acquire()
    assert path.with_name("s.journal.lock").is_symlink(), "it is still its holder's"
    mine.release()
    JournalLock(path).acquire()


def test_a_release_takes_nobody_elses_lock(path):
    lock = JournalLock(path)
    lock.acquire()
    path.with_name("s.journal.lock").unlink()
    link = plant(path, ELSEWHERE)
    lock.release()
    assert str(link.readlink()) == ELSEWHERE


def test_a_file_in_the_locks_place_goes_with_time_and_a_folder_is_named(path):
    place = path.with_name("s.journal.lock")
    place.touch()
    os.utime(place, (1, 1))
    Storage(f"journal:{path}")
    place.mkdir()
    with pytest.raises(UserError, match="^.*s.journal.lock was left behind and cannot be removed .*; remove it$"):
        JournalLock(path)._is_left_behind({}, 0)  # at once, however new it is


def test_of_two_that_meet_a_dead_ones_lock_the_second_leaves_the_first_ones(path, dead):
    link, first, second = plant(path, dead), JournalLock(path), JournalLock(path)
    state = journal._state(link)
    first.acquire()
    second._remove(state)
    assert str(link.readlink()) == first._token
    first.release()
    state = journal._state(plant(path, dead))
    with path.open("ab") as file:  # the first one looks at it
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(target=second._remove, args=(state,))
        thread.start()
        thread.join(0.3)
        assert link.is_symlink()
    thread.join()
    assert not link.is_symlink()


def test_one_at_a_time_though_every_holder_dies(path, dead):
    inside, overlaps, turns = [], [], []

    def work(number: int):
        lock = JournalLock(path)
        for turn in range(20):
            lock.acquire()
            inside.append(number)
            overlaps.extend(inside[1:])
            time.sleep(0)
            inside.remove(number)
            turns.append(turn)
            corpse = path.with_name(f"corpse-{number}")
            corpse.symlink_to(f"{dead[:-8]}{number:04}{turn:04}")
            corpse.rename(path.with_name("s.journal.lock"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 80 and not overlaps


def test_two_names_of_a_file_have_one_lock(path):
    link = path.with_name("other.journal")
    link.symlink_to("s.journal")
    assert Storage(f"journal:{link}").where == str(path)
    for name, target in (("new.journal", "absent.journal"), ("loop.journal", "loop.journal")):
        path.with_name(name).symlink_to(target)
    assert Storage(f"journal:{path.with_name('new.journal')}").where == str(path.with_name("absent.journal"))
    with pytest.raises(UserError, match="loop.journal cannot be read .*symbolic links"):
        Storage(f"journal:{path.with_name('loop.journal')}")


@pytest.mark.parametrize("half", [b'{"op_c', b'{"op_code":4,"worker_id":"killed in mid-wri'])
def test_half_a_line_is_dropped_when_the_lock_is_taken(path, half):
    for whole in (b"", LINE):
        path.write_bytes(whole + half)
        lock = JournalLock(path)
        lock.acquire()
        lock.release()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "text", [b"notes without an end", b"1,2\n3,4", b'{"sql_prompt": "a"}\n{"sql_prompt": "b"}', b""]
)
def test_a_file_that_is_no_journal_stays_as_it_is(path, text):
    path.write_bytes(text)
    try:
        Storage(f"journal:{path}")
    except UserError as error:
        assert "cannot be read" in str(error)
    assert path.read_bytes() == text


def test_what_cannot_be_a_journal_is_one_line(path):
    with pytest.raises(UserError, match=f"names the folder {path.parent}; give a file, as journal:FILE"):
        Storage(f"journal:{path.parent}")
    with pytest.raises(UserError, match="names no storage; give sqlite"):
        Storage("journal:")
    with pytest.raises(UserError, match="cannot be read .File name too long"):
        Storage(f"journal:{path.parent / ('x' * 300)}")
    assert Storage(f"journal:{path.parent}/new/folder/x.journal").call("get_all_studies") == []


def test_a_journal_in_a_folder_that_may_not_be_written(path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path.parent.chmod(0o500)
    with pytest.raises(UserError, match="cannot write .*sub: Permission denied"):
        Storage(f"journal:{path}")
