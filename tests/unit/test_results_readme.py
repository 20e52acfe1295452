"""The README's blocks: each is made of the records, ends at its own end, and follows a run for results/."""

import pytest

from common import results
from common.results import audits, readme
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place


def test_readme_blocks(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(UserError, match="no line"):
        readme.update(check=True)
    path = tmp_path / "README.md"
    path.write_text(
        "# T\n<!-- results:begin -->\nold\n<!-- results:end -->\nmiddle\n"
        "<!-- results:cpu:begin -->\n<!-- results:cpu:end -->\nend\n"
    )
    with pytest.raises(UserError, match="'cpu', which has no records"):
        readme.update(check=False)
    write("baseline", "nnnny?")
    rows = predictions("y")
    results.write_record(place / "smoke", record("x", rows, profile="smoke"), rows)
    assert readme.update(check=True) == 1 and "old" in path.read_text()
    assert readme.update(check=False) == 0
    text = path.read_text()
    assert text.startswith("# T\n<!-- results:begin -->\nProfile `cpu`") and "old" not in text and "smoke" not in text
    assert text.count("| `baseline` | 0.200 [") == 2 and "\nmiddle\n" in text and text.endswith("-->\nend\n")
    assert readme.update(check=True) == 0
    write("baseline", "ynnny?")
    assert readme.update(check=True) == 1
    assert "README.md differs from the records" in capsys.readouterr().out


def test_each_named_block_ends_at_its_own_end(place):
    text = "<!-- results:audit:begin -->\n<!-- results:end -->\n<!-- results:audit:end -->"
    assert readme.with_blocks(text).count("end -->") == 1 and audits.markdown() in readme.with_blocks(text)
    with pytest.raises(UserError, match="asks for the results of 'coffee'"):
        readme.with_blocks(text.replace("audit", "coffee"))


def test_a_run_updates_the_readme_only_where_it_shows_the_run(place, tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text("<!-- results:begin -->\nold\n<!-- results:end -->\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    write("baseline", "nnnny?")
    with monkeypatch.context() as patch:
        patch.setattr(readme, "results", lambda: tmp_path / "elsewhere")
        readme.follow("cpu")
    assert "old" in path.read_text()
    readme.follow("smoke")
    assert "old" in path.read_text()
    readme.follow("cpu")
    assert "old" not in path.read_text() and "| `baseline` |" in path.read_text()
