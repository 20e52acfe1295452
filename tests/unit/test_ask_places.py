"""Where a file lies and how it is copied: links, logs, writers, full disks, and paths that the system refuses."""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from common.ask import copies
from common.ask.copies import open_copy
from common.ask.export import export
from common.ask.places import base_model, readable
from common.ask.weights import load_folder, load_run
from common.settings import UserError
from tests.unit.ask_files import contents, database, refuse

LONG = "x" * 300
PLAIN = "CREATE TABLE t (x); INSERT INTO t VALUES (1);"


def rows(file: Path | str) -> list[int]:
    with open_copy(file, rows=9) as copy:
        return [value for (value,) in copy.tables[0].rows]


@contextmanager
def logged(file: Path) -> Iterator[sqlite3.Connection]:
    """A database whose second row is in its log alone, and its writer."""
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.executescript(PLAIN)
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("INSERT INTO t VALUES (2)")
        yield writer


def test_a_link_is_read_with_the_log_of_what_it_links_to(tmp_path):
    for name in ("data", "links"):
        (tmp_path / name).mkdir()
    file, link, other = tmp_path / "data" / "live.sqlite", tmp_path / "links" / "a.sqlite", tmp_path / "b.sqlite"
    link.symlink_to(Path("..") / "data" / "live.sqlite")
    other.symlink_to(link)
    (tmp_path / "folder").symlink_to(tmp_path / "data")
    with logged(file):
        before = contents(file.parent)
        for place in (file, link, other, tmp_path / "folder" / "live.sqlite"):
            assert rows(place) == [1, 2]
        with open_copy(link) as copy:
            assert copy.origin == link  # as it was named
        assert contents(file.parent) == before
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refuse("loop cannot be read .*symbolic links", tmp_path / "loop")


def test_a_log_without_its_index_is_read(tmp_path):
    with logged(tmp_path / "live.sqlite"):
        for ending in ("", "-wal"):
            shutil.copyfile(f"{tmp_path}/live.sqlite{ending}", f"{tmp_path}/left.sqlite{ending}")
    assert rows(tmp_path / "left.sqlite") == [1, 2]
    (tmp_path / "left.sqlite-wal").unlink()
    assert rows(tmp_path / "left.sqlite") == [1]


def test_a_transaction_that_has_not_ended_is_rolled_back(tmp_path):
    file = database(tmp_path / "open.sqlite", PLAIN)
    (tmp_path / "link").symlink_to(file)
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA cache_size=1")
        writer.execute("UPDATE t SET x = 5")
        writer.executemany("INSERT INTO t VALUES (?)", [("y" * 3000,)] * 50)
        assert (tmp_path / "open.sqlite-journal").stat().st_size
        assert rows(file) == rows(tmp_path / "link") == [1]


def test_a_log_that_goes_into_the_file_meanwhile(tmp_path, monkeypatch):
    file, plain, count = tmp_path / "live.sqlite", shutil.copyfile, []
    monkeypatch.setattr(copies, "PAUSE", 0.0)
    with logged(file) as writer:

        def copyfile(source, target):
            plain(source, target)
            count.append(source)
            if len(count) == 1:  # the file is copied, its log is not
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                writer.execute("INSERT INTO t VALUES (3)")

        monkeypatch.setattr(shutil, "copyfile", copyfile)
        assert rows(file) == [1, 2, 3]
        assert len(count) == 4  # twice the file and its log

        def endless(source, target):
            plain(source, target)
            writer.execute("INSERT INTO t VALUES (4)")

        monkeypatch.setattr(shutil, "copyfile", endless)
        refuse("live.sqlite is being written all the time; .*backup", file)


def test_a_log_that_is_gone_when_it_is_copied(tmp_path, monkeypatch):
    file, plain = tmp_path / "live.sqlite", shutil.copyfile
    monkeypatch.setattr(copies, "PAUSE", 0.0)
    with logged(file) as writer:

        def copyfile(source, target):
            if source.endswith("-wal"):
                writer.close()
            plain(source, target)

        monkeypatch.setattr(shutil, "copyfile", copyfile)
        assert rows(file) == [1, 2]
    assert list(contents(tmp_path)) == ["live.sqlite"]


def test_a_log_may_make_the_copy_too_large(tmp_path, monkeypatch):
    file = tmp_path / "live.sqlite"
    with logged(file) as writer:
        writer.execute("INSERT INTO t VALUES (zeroblob(300000))")
        monkeypatch.setattr(copies, "LARGEST_FILE", 200_000)
        refuse("the sandbox holds", file)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path / "link", "/dev/null"):
        refuse("is a pipe or a device; give the SQLite file", place)
    file = database(tmp_path / "t.sqlite", PLAIN)
    os.mkfifo(tmp_path / "t.sqlite-wal")
    assert rows(file) == [1]


def test_no_room_for_the_copy(tmp_path, monkeypatch):
    file = database(tmp_path / "t.sqlite", PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        refuse("no temporary folder can be made .*No such file.*set TMPDIR", file)
    with monkeypatch.context() as patch:
        patch.setattr(copies, "_is_sound", lambda _: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full")))
        refuse("cannot be copied to .*is full.*set TMPDIR", file)
    for number, line in (
        (errno.ENOSPC, "cannot be copied to .*free some space"),
        (errno.EIO, "t.sqlite cannot be read"),
    ):
        with monkeypatch.context() as patch:
            error = OSError(number, os.strerror(number))
            patch.setattr(shutil, "copyfile", lambda *_, error=error: (_ for _ in ()).throw(error))
            refuse(f"{line}", file)
    with pytest.raises(OSError, match="of the block"), open_copy(file):
        raise OSError("of the block")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A folder that may not be looked into; also where the tests run as root."""
    is_root, mode = os.geteuid() == 0, folder.stat().st_mode
    folder.chmod(0)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(mode)


def test_paths_that_the_system_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse("there is no file ~nosuch/x.sqlite", "~nosuch/x.sqlite")
    refuse("x cannot be read .*too long", LONG)
    refuse("cannot be read .*Not a directory", database(tmp_path / "t.sqlite", PLAIN) / "x")
    refuse("cannot be read .*null byte", "a\0b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rows("~/t.sqlite") == [1]
    with locked(tmp_path):
        refuse("t.sqlite cannot be read .*Permission denied.*check the path and its permissions", tmp_path / "t.sqlite")


@pytest.mark.parametrize("path", [LONG, f"{LONG}/config.json"])
def test_weights_and_folders_that_the_system_refuses(path):
    for look in (
        lambda: load_folder(path, profile="smoke"),
        lambda: load_run(profile="smoke", model_id=path),
        lambda: export("own", Path(path), profile="smoke"),
    ):
        with pytest.raises(UserError, match="cannot be read"):
            look()


def test_nobodys_home_is_a_name_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="~nosuch/a holds no trained weights"):
        load_folder("~nosuch/a", profile="smoke")
    for name in ("baseline", "none"):
        with pytest.raises(UserError, match="there is no (?:model folder .*~nosuch/m|record 'none')"):
            load_run(name, profile="smoke", model_id="~nosuch/m")
    for name in ("none", LONG):
        with pytest.raises(UserError, match="there is no record"):
            export(name, Path("~nosuch/new"), profile="smoke", model_id="~nosuch/m")


def test_a_folder_that_may_not_be_read(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("[]")
    assert readable(folder) == folder and base_model(str(folder)) == str(folder) and base_model("") == ""
    with locked(folder):
        for look in (readable, base_model, lambda path: load_folder(path, profile="smoke")):
            with pytest.raises(UserError, match="weights cannot be read .*Permission denied"):
                look(str(folder))
    with pytest.raises(UserError, match="holds no trained weights"):
        load_folder(folder, profile="smoke")
