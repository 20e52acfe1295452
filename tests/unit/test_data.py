"""Each source of rows: what it gives, in which order, and the one line for what it cannot give.

Rows are invented here. No test needs the network: gretel's loader stands in for the hub, and one test asks a hub that
nobody answers for.
"""

import os
import shutil
import subprocess
import sys

import pytest

from common import data
from common.data import GRETEL, Example, check_no_leak, ids_hash, load_examples, revision, without_leaks
from common.hub import hub_commit
from common.provenance import code
from common.settings import ROOT, UserError
from tests.hub import hub, offline, remember
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


def test_a_limit_over_the_embedded_split_is_refused_before_a_row_is_generated(monkeypatch):
    monkeypatch.setattr(data, "generate", None)  # calling it would raise
    with pytest.raises(
        UserError, match="embedded has 20000 rows in split 'train', 20001 were asked for; ask for fewer"
    ):
        load_examples("embedded", "train", limit=20_001)


@pytest.mark.parametrize(
    ("source", "split", "limit", "message"),
    [
        ("embedded", "dev", 5, "unknown split 'dev'; choose one of train, validation, test, test_unseen"),
        ("embedded", "", None, "unknown split ''"),
        ("gretel", "Train", None, "unknown split 'Train'"),
        ("embedded", "test", 0, "a limit of 0 rows leaves nothing; give at least 1, or None for all"),
        ("embedded", "test", -3, "a limit of -3 rows"),
        ("gretel", "test_unseen", None, "gretel has the splits train, validation and test"),
        ("imbedded", "test", None, "unknown data 'imbedded'; give embedded, gretel, spider:DIR, or a .parquet"),
        ("", "test", None, "unknown data"),
        ("data.xlsx", "test", None, "unknown data 'data.xlsx'"),
        ("gretelx", "test", None, "unknown data 'gretelx'"),
        ("nowhere/rows.csv", "test", None, "there is no file nowhere/rows.csv"),
        ("spider:nowhere", "test", None, "no Spider in nowhere: schemas.json is missing"),
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


# gretel, without the hub


REPOSITORY = "datasets--gretelai--synthetic_text_to_sql"


@pytest.fixture
def loads(tmp_path, monkeypatch):
    """The hub's loader with 400 rows to train on and 30 to test on, offline; gives what it was called with. The cache
    knows `abc` as the commit `abc`."""
    import datasets

    calls = []

    def load_dataset(name, *, split, revision):
        calls.append((name, split, revision))
        rows = range({"train": 400, "test": 30}[split])
        columns = ("domain", "sql_complexity", "sql_task_type", "sql_prompt", "sql_context", "sql", "sql_explanation")
        return datasets.Dataset.from_list([{"id": 1000 + n} | {c: f"{c} {split} {n}" for c in columns} for n in rows])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    remember(tmp_path, REPOSITORY, "abc", "abc")
    offline(tmp_path, monkeypatch)
    yield calls
    hub_commit.cache_clear()


def test_gretel_is_split_as_published(loads):
    train, validation = (load_examples("gretel@abc", split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (400 - 10, 10)  # 2.5 % of 400
    assert {row.id for row in train + validation} == {f"gretel-train-{1000 + n}" for n in range(400)}
    assert [row.id for row in train] != sorted(row.id for row in train)
    assert loads == [(GRETEL, "train", "abc")] * 2 and GRETEL == "gretelai/synthetic_text_to_sql"


def test_gretel_columns_become_an_example(loads):
    assert load_examples("gretel@abc", "test", limit=2)[1] == Example(
        id="gretel-test-1001",
        question="sql_prompt test 1",
        schema="sql_context test 1",
        sql="sql test 1",
        domain="domain test 1",
        complexity="sql_complexity test 1",
        task_type="sql_task_type test 1",
    )
    assert loads == [(GRETEL, "test", "abc")]


def test_gretel_stages_are_nested_and_seeded(loads):
    whole = load_examples("gretel@abc", "train")
    assert load_examples("gretel@abc", "train", limit=7) == whole[:7]
    other = load_examples("gretel@abc", "train", seed=1)
    assert other != whole and other == load_examples("gretel@abc", "train", seed=1)
    # The test split is gretel's own: no seed moves it.
    assert load_examples("gretel@abc", "test", seed=1) == load_examples("gretel@abc", "test", seed=2)


def test_gretel_has_no_more_rows_than_it_has(loads):
    with pytest.raises(UserError, match="gretel@abc has 30 rows in split 'test', 31 were asked for"):
        load_examples("gretel@abc", "test", limit=31)


def test_gretel_is_loaded_at_the_commit_that_is_recorded(loads, tmp_path, monkeypatch):
    commits = {"main": "f" * 40, "v1": "e" * 40}
    with hub(commits, tmp_path, monkeypatch) as requests:
        load_examples("gretel", "train", limit=1)
        commits["main"] = "0" * 40  # someone uploads meanwhile
        load_examples("gretel", "test", limit=1)
        load_examples("gretel@v1", "test", limit=1)
        assert [commit for _, _, commit in loads] == ["f" * 40, "f" * 40, "e" * 40]
        assert (revision("gretel"), revision("gretel@v1")) == ("f" * 40, "e" * 40)
        assert {path.partition("/revision")[0] for path in requests} == {f"/api/datasets/{GRETEL}"}
    offline(tmp_path, monkeypatch)
    assert revision("gretel") == "f" * 40  # the earlier download


def test_gretel_without_network_ends_at_once():
    script = (
        "import time\ntime.sleep = lambda seconds: print('waited', seconds)\n"  # as the hub's own clients do for 24 s
        "from common.data import load_examples, revision\nfrom common.settings import UserError\n"
        "for ask in (lambda: load_examples('gretel', 'train', limit=4), lambda: revision('gretel')):\n"
        "    try:\n        ask()\n    except UserError as error:\n        print(error)\n"
    )
    env = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=env, timeout=600)
    first, second = run.stdout.splitlines()
    assert first == second and run.stderr == ""
    assert (
        first.startswith(f"cannot get '{GRETEL}' from the Hugging Face hub (ConnectError)") and "PROFILE=cpu" in first
    )


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
        ("synthetic/__init__.py", lambda source: source.replace("ATTEMPTS = 400", "ATTEMPTS = 401")),
        ("synthetic/mix.py", more("\nX = 1\n")),
        ("synthetic/domains/words.txt", more("another\n")),
        ("synthetic/domains/unseen.toml", more("\n")),
    ]
    revisions = {revision_after(*change) for change in changes}
    assert len(revisions | {here}) == len(changes) + 1
