"""The tables of bench/README.md: by hand, of damaged records, and written by their command."""

import json

import pytest

from bench import readme, tables
from common.settings import UserError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def measurement(**changes) -> dict:
    line = {
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
    return line | changes


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
    assert readme.block("scoring") == "Not measured yet; `make bench` does it."
    lines = [
        measurement(),
        measurement(what="build", unit="ms", value=44.123, low=40, high=50.0, target={"at_most": 40}, met=False),
        measurement(
            what="long", unit="s", value=0.01234, low=0.01234, high=0.01234, repetitions=1, target=None, met=None
        ),
        measurement(what="robust", value=None, low=None, high=None, repetitions=0, met=None),
    ]
    write_bench(place, json.dumps(bench(*lines, dirty=True)))
    assert readme.block("scoring").splitlines()[2:] == [
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
        readme.block("scoring")


@pytest.mark.parametrize(
    "value, target, expected",
    [(300, {"at_least": 300}, True), (299.9, {"at_least": 300}, False), (8, {"at_most": 8}, True)]
    + [(8.1, {"at_most": 8}, False), (None, {"at_most": 8}, None), (8, None, None)],
)
def test_a_target_is_met_or_not(value, target, expected):
    assert tables.met(value, target) is expected


def test_the_command_writes_the_blocks_or_says_that_they_differ(place, tmp_path, monkeypatch, capsys):
    path = tmp_path / "README.md"
    monkeypatch.setattr("common.results.readme.ROOT", tmp_path)
    monkeypatch.setattr(readme, "PATH", path)
    path.write_text("<!-- results:scoring:begin -->\nold\n<!-- results:scoring:end -->\nend\n")
    write_bench(place, json.dumps(bench(measurement())))
    monkeypatch.setattr("sys.argv", ["bench.readme", "--check"])
    assert readme.main() == 1 and "`python -m bench.readme` writes it anew" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["bench.readme"])
    assert readme.main() == 0
    assert "| strict against published | 412×" in path.read_text() and path.read_text().endswith("-->\nend\n")
    with pytest.raises(UserError, match="asks for the block 'coffee'; there are ratios"):
        readme.block("coffee")
