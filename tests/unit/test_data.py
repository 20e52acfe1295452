"""Each source of rows: what it gives, in which order, and the one line for what it cannot give.

Rows are invented here.
"""

import shutil

import pytest

from common import data
from common.data import Example, check_no_leak, ids_hash, load_examples, revision, without_leaks
from common.provenance import code
from common.settings import ROOT, UserError
from tests.unit.files import sha16

COUNTS = {"train": 120, "validation": 40, "test": 40, "test_unseen": 40}


@pytest.fixture(scope="module")
def embedded() -> dict[str, list[Example]]:
    return {split: load_examples("embedded", split, limit=n) for split, n in COUNTS.items()}


# Embedded


def test_embedded_rows_are_whole(embedded):
    for split, rows in embedded.items():
        assert len(rows) == COUNTS[split]
        for row in rows:
            assert row.question and row.schema.startswith("CREATE TABLE") and row.sql
            assert row.domain and row.complexity and row.task_type and row.database is None


def test_a_smaller_limit_gives_the_first_rows(embedded):
    assert load_examples("embedded", "train", limit=24) == embedded["train"][:24]


def test_another_seed_gives_other_rows(embedded):
    other = load_examples("embedded", "test", limit=20, seed=7)
    assert not {(row.question, row.schema) for row in other} & {(row.question, row.schema) for row in embedded["test"]}
    assert other == load_examples("embedded", "test", limit=20, seed=7)


def test_embedded_splits_share_nothing(embedded):
    rows = [row for split in embedded.values() for row in split]
    assert len({row.id for row in rows}) == len(rows) == sum(COUNTS.values())
    for split in ("validation", "test", "test_unseen"):
        check_no_leak(embedded["train"], embedded[split])
        assert not {row.schema for row in embedded["train"]} & {row.schema for row in embedded[split]}
    domains = {row.domain for split in ("train", "validation", "test") for row in embedded[split]}
    assert not domains & {row.domain for row in embedded["test_unseen"]}


@pytest.fixture
def notices(monkeypatch):
    """Nothing was printed before."""
    monkeypatch.setattr(data.notices, "_printed", set())


def test_a_limit_over_the_embedded_split_takes_the_split_and_tells_it_once(monkeypatch, notices, capsys):
    monkeypatch.setitem(data.EMBEDDED_SIZES, "train", 5)
    whole = load_examples("embedded", "train")
    assert len(whole) == 5 and capsys.readouterr().out == ""
    for limit in (6, 20_001, 6):
        assert load_examples("embedded", "train", limit=limit) == whole
    assert capsys.readouterr().out == "embedded has 5 rows in split 'train', 6 were asked for; 5 are taken\n"
    assert load_examples("embedded", "train", limit=5) == whole and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("source", "split", "limit", "message"),
    [
        ("embedded", "dev", 5, "unknown split 'dev'; choose one of train, validation, test, test_unseen"),
        ("embedded", "", None, "unknown split ''"),
        ("gretel", "Train", None, "unknown split 'Train'"),
        ("embedded", "test", 0, "a limit of 0 rows leaves nothing; give at least 1, or None for all"),
        ("embedded", "test", -3, "a limit of -3 rows"),
        (
            "gretel",
            "test_unseen",
            None,
            "gretel has the splits train, validation, test and post; test_unseen is",
        ),
        ("gretel", "test_forms", None, "gretel has the splits train, validation, test and post; test_forms"),
        ("imbedded", "test", None, "unknown data 'imbedded'; give embedded, gretel, spider:DIR, or a .parquet"),
        ("", "test", None, "unknown data"),
        ("data.xlsx", "test", None, "unknown data 'data.xlsx'"),
        ("gretelx", "test", None, "unknown data 'gretelx'"),
        ("nowhere/rows.csv", "test", None, "there is no file nowhere/rows.csv"),
        (
            "spider:nowhere",
            "test",
            None,
            "no Spider in nowhere: schemas.json is missing; spider:DIR wants what Spider's",
        ),
    ],
)
def test_a_wrong_request_is_one_line(source, split, limit, message):
    with pytest.raises(UserError) as error:
        load_examples(source, split, limit=limit)
    assert message in str(error.value)


# Hashes and leaks


def row(id: str, question: str = "q", schema: str = "CREATE TABLE t (a);", sql: str = "SELECT 1") -> Example:
    return Example(id=id, question=question, schema=schema, sql=sql)


def test_ids_hash_is_the_hash_of_the_ids_in_order():
    assert ids_hash([row("a"), row("b", question="x")]) == sha16("a\nb")
    assert ids_hash([row("b"), row("a")]) == sha16("b\na") != sha16("a\nb")


def test_leaks_are_known_by_id_and_by_content():
    train = [row("a", "one"), row("b", "two")]
    check_no_leak(train, [row("c", "three"), row("d", "one", sql="SELECT 2")])
    check_no_leak(iter(train), iter([row("c", "one", schema="CREATE TABLE u (a);")]))
    with pytest.raises(UserError, match="1 held-out rows are also in the training rows, the first is b"):
        check_no_leak(train, [row("c", "three"), row("b", "four")])
    with pytest.raises(UserError, match="2 held-out rows .* the first is x"):
        check_no_leak(iter(train), [row("x", "two"), row("a", "nine")])


def test_leaks_are_dropped_from_the_training_rows_and_counted():
    train = [row("a", "one"), row("b", "two"), row("c", "three"), row("d", "four")]
    valid = [row("x", "two"), row("c", "ten")]  # b by its content, c by its id
    test = [row("y", "three"), row("z", "one", sql="SELECT 2")]  # c again, and no reference of a's
    rows, dropped = without_leaks(iter(train), iter(valid), iter(test))
    assert (rows, dropped) == ([train[0], train[3]], 2)
    for held_out in (valid, test):
        check_no_leak(rows, held_out)


def test_without_a_leak_all_rows_stay():
    train = [row("a", "one"), row("b", "two")]
    assert without_leaks(train) == without_leaks(train, [], [row("c", "three")]) == (train, 0)
    assert without_leaks([], [row("a")]) == ([], 0)


def test_training_on_nothing_but_held_out_rows_is_one_line():
    train = [row("a", "one"), row("b", "two")]
    with pytest.raises(UserError, match="^all 2 training rows are also held-out rows; split again$"):
        without_leaks(train, train)


def test_revision_of_embedded_is_its_codes_and_word_lists(tmp_path):
    """Each change in a copy of the repository's code: only what can change a row changes the revision."""

    def revision_after(path: str, change) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(ROOT / "common", root / "common", ignore=shutil.ignore_patterns("__pycache__"))
        file = root / "common" / path
        file.write_text(change(file.read_text()))
        return code("common.synthetic", root=root)

    def more(text):
        return lambda source: source + text

    here = revision("embedded")
    assert revision_after("synthetic/mix.py", str) == here
    assert revision_after("synthetic/mix.py", more("\n# a comment\n")) == here
    assert revision_after("models.py", more("\nX = 1\n")) == here
    changes = [
        ("synthetic/__init__.py", lambda source: source.replace("ATTEMPTS = 20", "ATTEMPTS = 21")),
        ("synthetic/mix.py", more("\nX = 1\n")),
        ("synthetic/domains/words.txt", more("another\n")),
        ("synthetic/domains/unseen.toml", more("\n")),
    ]
    revisions = {revision_after(*change) for change in changes}
    assert len(revisions | {here}) == len(changes) + 1
