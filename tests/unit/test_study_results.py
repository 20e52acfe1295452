"""What of a run reaches results/ and the README, and what only outputs/, on a small notebook that writes a record."""

from pathlib import Path

import pytest

from common.settings import UserError
from common.study import execute as runner
from common.study.execute import run
from common.study.notebooks import Notebook
from common.study.publish import publish
from common.study.seeds import run_seeds
from tests.unit import studies
from tests.unit.studies import commit, write

place = studies.place
RECORD = """from common.results import places, write_record
from common.provenance import notebook_digest
from common.settings import ROOT
from tests.unit.records import predictions, record
place = places.place("a/n.ipynb", "smoke", SEED, {"run_name": RUN_NAME, "rate": RATE, "test_rows": 0})
code = {"notebook_digest": notebook_digest(ROOT / "a" / "n.ipynb")}
values = record(RUN_NAME, predictions("yn"), profile="smoke", notebook="a/n.ipynb", seed=SEED, code=code)
write_record(place, values, predictions("yn"))"""
PATCHED = """import common.results.places, common.settings, os
common.results.places.ROOT = common.settings.Path(os.environ["TEXT_TO_SQL_OUTPUTS"]).parent
common.settings.ROOT = common.results.places.ROOT
"""


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def recording(place) -> Notebook:
    """A committed notebook that writes a record of two rows, beside a README that shows none."""
    (place / "README.md").write_text("<!-- results:begin -->\nold\n<!-- results:end -->\n")
    (place / "requirements.txt").write_text("")
    (place / ".gitignore").write_text("outputs/\n")
    notebook = write(place / "a" / "n.ipynb", "n", PATCHED + RECORD)
    commit(place)
    return notebook


def test_a_run_writes_to_outputs_whatever_its_parameters(place, recording, capsys):
    for texts in ({}, {"RATE": "2"}, {"SEED": "7"}):
        run([recording], "smoke", texts)
    assert not (place / "results").exists()
    assert "old" in (place / "README.md").read_text()
    names = ["comparison.md", "comparison.png", "n.json", "n.predictions.jsonl"]
    assert files(place / "outputs" / "results") == [
        f"smoke/{name}" for name in [*names, *(f"seeds/7/{name}" for name in names)]
    ]
    out = capsys.readouterr().out
    assert out.count("n  0.500 [") == 4 and "records: outputs/results/smoke/seeds/7 ·" in out.splitlines()[-1]
    assert "| `n` | 7, 42 |" in (place / "outputs" / "results" / "smoke" / "comparison.md").read_text()


def test_results_are_written_from_a_commit_with_own_parameters_alone(place, recording, monkeypatch):
    ran = []
    with monkeypatch.context() as patch:
        patch.setattr(runner, "execute", lambda *arguments, **options: ran.append(arguments))
        with pytest.raises(UserError, match="own parameters, but a/n.ipynb would be run with RATE=2.0; `make run`"):
            run([recording], "smoke", {"RATE": "2"}, publish=True)
        with pytest.raises(UserError, match="own parameters, but a/n.ipynb would be run with PROFILE=cpu"):
            run([recording], "cpu", {}, publish=True)
        text = recording.path.read_text()
        recording.path.write_text(text.replace("0.5", "0.25"))
        with pytest.raises(UserError, match="committed, and a/n.ipynb is not; commit first, or take `make run`"):
            run([recording], "smoke", {}, publish=True)
        recording.path.write_text(text)
        (place / "common").mkdir()
        (place / "common" / "new.py").write_text("")
        with pytest.raises(UserError, match="common/ or requirements.txt is not; commit first"):
            run([recording], "smoke", {}, publish=True)
        (place / "common" / "new.py").unlink()
        assert not ran
    assert not (place / "results").exists()
    run([recording], "smoke", {}, publish=True)
    assert files(place / "results" / "smoke") == ["comparison.md", "comparison.png", "n.json", "n.predictions.jsonl"]
    assert not (place / "outputs" / "results").exists()
    publish([recording], "smoke")


def test_the_readme_follows_what_is_written_to_results(place, recording, monkeypatch):
    monkeypatch.delenv("TEXT_TO_SQL_RESULTS")
    monkeypatch.setattr("common.results.readme.SCRATCH", "cpu")
    run([recording], "smoke", {})
    assert "old" in (place / "README.md").read_text() and not (place / "results").exists()
    monkeypatch.setattr(runner, "execute", lambda *arguments, **options: None)
    (place / "results").mkdir()
    (place / "outputs" / "results" / "smoke").rename(place / "results" / "smoke")
    run([recording], "smoke", {}, publish=True)
    assert "| `n`" in (place / "README.md").read_text()


def test_seeds_are_run_where_they_are_missing_or_stale_and_lie_apart(place, recording, monkeypatch, capsys):
    other = write(place / "b" / "m.ipynb", "m", "x = 1")
    later = write(place / "b" / "l.ipynb", "example-l", "x = 1")
    example = write(place / "a" / "n.ipynb", "example-n", PATCHED + RECORD)
    commit(place)
    with pytest.raises(UserError, match="none of these notebooks makes a record 'example-…'"):
        run_seeds([other], "smoke")
    with pytest.raises(UserError, match="none of them has a record at the usual seed yet; `make notebooks PROFILE=smo"):
        run_seeds([other, example], "smoke")
    run([example], "smoke", {}, publish=True)
    capsys.readouterr()
    run_seeds([other, later, example], "smoke")
    assert "left out: b/l.ipynb; `make notebooks PROFILE=smoke NOTEBOOKS=" in capsys.readouterr().out
    names = ["example-n.json", "example-n.predictions.jsonl"]
    folder = place / "results" / "smoke"
    assert files(folder) == ["comparison.md", "comparison.png", *names] + [
        f"seeds/{seed}/{name}" for seed in (43, 44) for name in names
    ]
    assert "| `example-n` | 42, 43, 44 | 0.500, 0.500, 0.500 |" in (folder / "comparison.md").read_text()
    publish([example], "smoke")  # the copies of other seeds are not in its way
    ran = []
    monkeypatch.setattr("common.study.seeds.run", lambda notebooks, profile, texts, publish: ran.append(texts["SEED"]))
    capsys.readouterr()
    run_seeds([example], "smoke")
    assert not ran and capsys.readouterr().out.startswith("seed 43: 0 of 1 notebooks to run")
    path = folder / "seeds" / "44" / "example-n.json"
    text = path.read_text()
    for old, new in (('"prompt_hash": "p1"', '"prompt_hash": "p2"'), ('"answers_digest": "', '"answers_digest": "x')):
        path.write_text(text.replace(old, new))
        run_seeds([example], "smoke")
    assert ran == ["44", "44"]
