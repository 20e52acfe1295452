"""Keys, paths, and the one line that a user's mistake ends in. Every test has a root and an environment of its own."""

import errno
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from common import settings
from common.settings import UserError, key, outputs, redact, results, run_cli, writable, writing

ROOT = Path(settings.__file__).resolve().parents[1]
LINE = "error: mend this\n"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A root without _config.py, and an environment without keys."""
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    for name in settings.CONFIG_NAMES:
        monkeypatch.delenv(name, raising=False)
    settings._config.cache_clear()
    yield tmp_path
    settings._config.cache_clear()


def configure(root: Path, text: str) -> None:
    (root / "_config.py").write_text(text)
    settings._config.cache_clear()


# Keys


def test_no_config_and_no_environment_is_no_key():
    assert [key(name) for name in settings.CONFIG_NAMES] == [None, None, None]


def test_config_is_read_by_path_and_never_imported(root):
    configure(root, 'WANDB_API_KEY = "from-config"\nOTHER = "x"\n')
    assert key("WANDB_API_KEY") == "from-config"
    assert "_config" not in sys.modules and not (root / "__pycache__").exists()
    assert key("OTHER") is None


def test_config_goes_before_the_environment(root, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "from-environment")
    monkeypatch.setenv("GROQ_API_KEY", "groq-environment")
    configure(root, 'WANDB_API_KEY = "from-config"\n')
    assert (key("WANDB_API_KEY"), key("GROQ_API_KEY")) == ("from-config", "groq-environment")


@pytest.mark.parametrize("value", ['""', "None", '"your-groq-key"', '"your-key-here"'])
def test_a_placeholder_is_no_key_and_does_not_hide_the_environment(root, monkeypatch, value):
    configure(root, f"GROQ_API_KEY = {value}\n")
    assert key("GROQ_API_KEY") is None
    monkeypatch.setenv("GROQ_API_KEY", "real-one")
    assert key("GROQ_API_KEY") == "real-one"


def test_a_placeholder_in_the_environment_is_no_key(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "your-groq-key")
    assert key("GROQ_API_KEY") is None and redact("your-groq-key") == "your-groq-key"


def test_the_example_config_holds_no_key(root):
    configure(root, (ROOT / "_config.example.py").read_text())
    assert [key(name) for name in settings.KEYS] == [None] * len(settings.KEYS)
    assert key("WANDB_PROJECT") == "text-to-sql"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("WANDB_API_KEY = 'unclosed\n", "SyntaxError"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("WANDB_API_KEY = secret_without_quotes\n", "NameError"),
        ("raise SystemExit\n", "SystemExit"),
    ],
)
def test_a_broken_config_is_one_line_without_its_content(root, text, reason):
    configure(root, text)
    with pytest.raises(UserError) as error:
        key("WANDB_API_KEY")
    assert str(error.value) == f"_config.py cannot be read ({reason}); compare it with _config.example.py"
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_redact_takes_out_every_key(root, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "wandb-environment")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    configure(root, 'WANDB_API_KEY = "wandb-config"\nWANDB_PROJECT = "text-to-sql"\nGROQ_API_KEY = "gsk-1-longer"\n')
    text = "wandb-config, wandb-environment (unused), gsk-1 and gsk-1-longer; project text-to-sql"
    assert redact(text) == "<key>, <key> (unused), <key> and <key>; project text-to-sql"


def test_redact_works_with_a_broken_config(root, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    configure(root, "GROQ_API_KEY = '\n")
    assert redact("key gsk-1") == "key <key>"


def test_an_error_never_shows_a_key(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-secret")
    error = UserError("the service refused gsk-secret")
    assert "gsk-secret" not in f"{error} {error!r} {error.args} {error._render_traceback_()}"
    assert str(error) == "the service refused <key>"


# A user's mistake


def test_user_error_is_one_line():
    assert str(UserError("  first\n\tsecond\r\n  third ")) == "first second third"


def test_ipython_shows_the_line_and_no_traceback(tmp_path):
    code = "from common.settings import UserError\nraise UserError('do this instead')"
    found = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")},
        timeout=600,
    )
    assert (found.stdout + found.stderr).strip() == "UserError: do this instead"


def failing(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [
        (lambda: None, None, ""),
        (lambda: 0, 0, ""),
        (lambda: 3, 3, ""),
        (failing(UserError("mend\nthis")), 2, LINE),
        (failing(KeyboardInterrupt()), 130, "interrupted; the same command goes on where it was\n"),
        (failing(SystemExit(7)), 7, ""),
    ],
)
def test_run_cli(capsys, main, code, said):
    with pytest.raises(SystemExit) as end:
        run_cli(main)
    assert end.value.code == code
    assert capsys.readouterr() == ("", said)


def test_run_cli_hides_no_fault_of_our_own():
    with pytest.raises(ZeroDivisionError):
        run_cli(failing(ZeroDivisionError()))


# Places


def test_places_default_to_the_repository_and_move_with_the_environment(root, monkeypatch):
    monkeypatch.delenv("TEXT_TO_SQL_OUTPUTS")
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", "")
    assert (outputs(), results()) == (root / "outputs", root / "results")
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", "/elsewhere/o")
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", "/elsewhere/r")
    assert (outputs(), results()) == (Path("/elsewhere/o"), Path("/elsewhere/r"))


def test_a_relative_place_is_the_same_in_every_folder_of_the_repository(root, monkeypatch, tmp_path_factory):
    (root / "sft").mkdir()
    other = tmp_path_factory.mktemp("other")
    monkeypatch.setenv("HOME", str(other))
    for value, inside, outside in (
        ("scratch/o", root / "scratch" / "o", other / "scratch" / "o"),
        ("../o", root.parent / "o", other.parent / "o"),
        ("~/o", other / "o", other / "o"),
        ("~nobody-at-all", root / "~nobody-at-all", other / "~nobody-at-all"),
    ):
        monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", value)
        monkeypatch.setenv("TEXT_TO_SQL_RESULTS", value)
        for folder, place in ((root, inside), (root / "sft", inside), (other, outside)):
            monkeypatch.chdir(folder)
            assert outputs() == results() == place


def test_tests_write_outside_the_repository():
    assert not outputs().is_relative_to(ROOT) and not results().is_relative_to(ROOT)


def test_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path):
    folder = tmp_path / "a" / "b"
    assert writable(folder) == folder == writable(folder)
    assert folder.is_dir() and not list(folder.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_disk_that_refuses_is_one_line(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError) as error:
        writable(tmp_path / "new")
    mend = "free some space, or set TEXT_TO_SQL_OUTPUTS to another folder"
    assert str(error.value) == f"cannot write {tmp_path}/new: {os.strerror(code)}; {mend}"


def test_a_folder_that_may_not_be_written(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        writable(tmp_path / "new")


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_where_the_folder_should_be(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="^cannot write .* set TEXT_TO_SQL_OUTPUTS to another folder$"):
        writable(tmp_path / "file" / below)


def test_a_full_disk_that_a_library_reports_in_its_own_way(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    asked = []
    monkeypatch.setattr(settings.shutil, "disk_usage", lambda place: asked.append(place) or usage(1000))
    with pytest.raises(UserError, match="no space is left on the disk"), writing(tmp_path / "x" / "y"):
        raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0")
    assert asked == [tmp_path / "x" / "y"]


def test_free_space_is_asked_of_the_nearest_folder_there_is(tmp_path):
    assert settings._free_bytes(tmp_path / "not" / "there") > 0


def test_writing_passes_what_is_no_matter_of_the_disk(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError("ours")
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "missing").read_bytes()
    with pytest.raises(KeyboardInterrupt), writing(tmp_path):
        raise KeyboardInterrupt
