"""The README's blocks: each is made of the records or of a bench's, ends at its own end, and follows a run."""

import json

import pytest

from common import results
from common.results import benches, readme
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
    results.write_record(record("x", rows, profile="smoke"), rows)
    assert readme.update(check=True) == 1 and "old" in path.read_text()
    assert readme.update(check=False) == 0
    text = path.read_text()
    assert text.startswith("# T\n<!-- results:begin -->\nProfile `cpu`") and "old" not in text and "smoke" not in text
    assert text.count("| `baseline` | 0.200 [") == 2 and "\nmiddle\n" in text and text.endswith("-->\nend\n")
    assert readme.update(check=True) == 0
    write("baseline", "ynnny?")
    assert readme.update(check=True) == 1
    assert "README.md differs from the records" in capsys.readouterr().out


def measurement(**changes) -> dict:
    made = {
        "name": "strict",
        "what": "strict against published",
        "unit": "×",
        "value": 412.3,
        "low": 398.1,
        "high": 1420.0,
        "repetitions": 5,
        "target": {"at_least": 300},
        "met": True,
    }
    return made | changes


def bench(*lines: dict, **code) -> dict:
    return {
        "name": "scoring",
        "code": {"commit": "0123456789abcdef", "dirty": False, "scorer_digest": "s", **code},
        "environment": {"python": "3.11.2", "packages": {"sqlite": "3.40.1"}, "device": "A CPU, 2 cores"},
        "data": {},
        "measurements": list(lines),
        "notes": ["One note."],
    }


def write_bench(place, text):
    (place / "bench").mkdir(parents=True, exist_ok=True)
    (place / "bench" / "scoring.json").write_text(text)


def test_bench_block_by_hand(place):
    assert readme.block("bench-scoring") == "Not measured yet; `make bench` does it."
    lines = [
        measurement(),
        measurement(what="build", unit="ms", value=44.123, low=40, high=50.0, target={"at_most": 40}, met=False),
        measurement(
            what="long", unit="s", value=0.01234, low=0.01234, high=0.01234, repetitions=1, target=None, met=None
        ),
        measurement(what="robust", value=None, low=None, high=None, repetitions=0, met=None),
    ]
    write_bench(place, json.dumps(bench(*lines, dirty=True)))
    assert readme.block("bench-scoring").splitlines()[2:] == [
        "| strict against published | 412× | 398 – 1,420 | 5 | ≥ 300× | yes |",
        "| build | 44.1 ms | 40 – 50 | 5 | ≤ 40 ms | **no** |",
        "| long | 0.0123 s | – | 1 | – | – |",
        "| robust | – | – | 0 | ≥ 300× | not measured |",
        "",
        "Measured at commit `0123456789ab` with uncommitted changes; A CPU, 2 cores, Python 3.11.2, SQLite 3.40.1.",
        "",
        "One note.",
    ]


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "cannot be read"),
        ("[]", "lacks name"),
        ('{"name": "scoring", "measurements": [{}]}', "lacks code, .*measurements.unit"),
    ],
)
def test_a_damaged_bench_record_is_one_line(place, text, why):
    write_bench(place, text)
    with pytest.raises(UserError, match=why):
        readme.block("bench-scoring")


@pytest.mark.parametrize(
    "value, target, expected",
    [(300, {"at_least": 300}, True), (299.9, {"at_least": 300}, False), (8, {"at_most": 8}, True)]
    + [(8.1, {"at_most": 8}, False), (None, {"at_most": 8}, None), (8, None, None)],
)
def test_a_target_is_met_or_not(value, target, expected):
    assert benches.met(value, target) is expected


def test_each_named_block_ends_at_its_own_end(place):
    text = "<!-- results:bench-scoring:begin -->\n<!-- results:end -->\n<!-- results:bench-scoring:end -->"
    assert readme.generated(text).count("end -->") == 1
    with pytest.raises(UserError, match="asks for the results of 'coffee'"):
        readme.generated(text.replace("bench-scoring", "coffee"))


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
