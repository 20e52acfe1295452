"""Digests written anew by another definition: proved from the history, and left alone where code has changed."""

import json
import subprocess
from pathlib import Path

import pytest

from common import provenance
from common.results import read_record, write_record
from common.results.restamp import restamp
from common.settings import UserError
from tests.unit.records import predictions, record

SOURCES = {
    "scoring/scorer.py": "one = 1\n",
    "generation.py": "from common import values\n",
    "values.py": "rate = 1\n",
    "training/sft.py": "import common.generation\n",
}


def git(place: Path, *command: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *options, *command], cwd=place, check=True, capture_output=True, text=True).stdout


def commit(place: Path, **sources: str) -> str:
    for name, source in sources.items():
        path = place / "common" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        (path.parent / "__init__.py").touch()
    git(place, "add", "-A")
    git(place, "commit", "-qm", "a change", "--allow-empty")
    return git(place, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of a few modules, and its first commit."""
    git(tmp_path, "init", "-q")
    sha = commit(tmp_path, **SOURCES)
    monkeypatch.setattr("common.results.restamp.ROOT", tmp_path)
    monkeypatch.setattr(provenance, "VALUES", ("common.values",))
    provenance._code.cache_clear()
    yield tmp_path, sha
    provenance._code.cache_clear()


def written(place: Path, sha: str, **code: object) -> Path:
    """A record of that commit, with digests of another definition."""
    rows = predictions("yn")
    section = {"commit": sha, "dirty": False, "answers_digest": "old", "scorer_digest": "old"} | code
    section |= {"training_digest": "old", "training_modules": ["common.training.sft"]}
    return write_record(place / "results", record("sft", rows, code=section | code), rows)


def digests(path: Path) -> list[str]:
    section = read_record(path.parent, "sft")["code"]
    return [section[key] for key in ("answers_digest", "training_digest", "scorer_digest")]


def today(place: Path) -> list[str]:
    provenance._code.cache_clear()
    scorer = provenance.code("common.scoring.scorer", root=place)
    roots = ("common.generation", "common.training.sft")
    return [*(provenance.code(m, without=provenance.SCORING, root=place) for m in roots), scorer]


def test_digests_of_the_same_code_are_written_anew_and_nothing_else(repository):
    place, sha = repository
    path = written(place, sha)
    before = path.read_text()
    commit(place, **{"values.py": "rate = 2\n"})  # a value, which the record holds by itself
    assert restamp(path) == "cpu/sft: scorer_digest, answers_digest, training_digest written anew"
    assert digests(path) == today(place) and "old" not in digests(path)
    lines = [(a, b) for a, b in zip(before.splitlines(), path.read_text().splitlines(), strict=True) if a != b]
    assert len(lines) == 3
    assert restamp(path) == "cpu/sft: as it is"


def test_a_record_of_other_code_stays_as_stale_as_it_is(repository):
    place, sha = repository
    path = written(place, sha)
    commit(place, **{"training/sft.py": "import common.generation\nsteps = 2\n"})
    line = "cpu/sft: training_digest of other code than today's; run its notebook again"
    assert restamp(path) == line
    answers, training, scorer = today(place)
    assert digests(path) == [answers, "old", scorer] and training != "old"


def test_a_record_of_uncommitted_code_or_of_a_commit_that_is_not_here_is_refused(repository):
    place, sha = repository
    with pytest.raises(UserError, match="^cpu/sft was made by code that was not committed; run its notebook again$"):
        restamp(written(place, sha, dirty=True))
    with pytest.raises(UserError, match=f"^cpu/sft is of commit {'a' * 12}, which is not in the history here"):
        restamp(written(place, "a" * 40))


def test_without_git_it_is_one_line(repository, monkeypatch):
    place, sha = repository
    path = written(place, sha)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="^git is not there, .*; install it, then call again$"):
        restamp(path)


def test_a_record_of_tables_is_written_anew_unless_what_it_stands_on_has_changed(repository, monkeypatch):
    place, _ = repository
    monkeypatch.setattr("common.results.restamp.computing_modules", lambda _: ["common.training.sft", "common.run"])
    monkeypatch.setattr(provenance, "RECORDS", ("common.run",))
    sha = commit(place, **{"run.py": "import common.generation\n"})
    path = place / "results" / "reward" / "judge.json"
    path.parent.mkdir(parents=True)
    section = {"commit": sha, "dirty": False, "measures_digest": "old", "scorer_digest": "old", "training_digest": ""}
    path.write_text(json.dumps({"method": "judge", "profile": "cpu", "notebook": "a.ipynb", "code": section}, indent=2))
    commit(place, **{"run.py": "import common.training.sft\n"})  # writes and shows
    provenance._code.cache_clear()
    assert restamp(path) == "cpu/judge: scorer_digest, measures_digest written anew"
    commit(place, **{"generation.py": "rate = 3\n"})
    provenance._code.cache_clear()
    assert restamp(path) == "cpu/judge: measures_digest of other code than today's; run its notebook again"
