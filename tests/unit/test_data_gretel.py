"""gretel's rows without the hub: how they are split, which are left out, and at which commit they are loaded.

No test needs the network: gretel's loader stands in for the hub, and one test asks a hub that nobody answers for.
"""

import os
import subprocess
import sys

import pytest

from common import data
from common.data import GRETEL, Example, load_examples, load_tests, revision
from common.hub import hub_commit
from common.settings import ROOT, UserError
from tests.hub import hub, offline, remember

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


@pytest.fixture
def notices(monkeypatch):
    """Nothing was printed before."""
    monkeypatch.setattr(data.notices, "_printed", set())


def test_gretel_is_split_as_published(loads):
    train, post, validation = (load_examples("gretel@abc", split) for split in ("train", "post", "validation"))
    # 2.5 % of 400, then a tenth of the others for what comes after SFT.
    assert (len(train), len(post), len(validation)) == (400 - 10 - 39, 39, 10)
    ids = [row.id for row in train + post + validation]
    assert sorted(ids) == sorted({f"gretel-train-{1000 + n}" for n in range(400)})
    assert load_examples("gretel@abc", "post", limit=5) == post[:5]
    assert list(load_tests("gretel@abc", limit=5, other_limit=5)) == ["test"]
    del loads[3:]
    assert [row.id for row in train] != sorted(row.id for row in train)
    assert loads == [(GRETEL, "train", "abc")] * 3 and GRETEL == "gretelai/synthetic_text_to_sql"


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


def test_gretel_has_no_more_rows_than_it_has(loads, notices, capsys):
    assert len(load_examples("gretel@abc", "test", limit=31)) == 30
    assert capsys.readouterr().out == "gretel@abc has 30 rows in split 'test', 31 were asked for; 30 are taken\n"


# By row: what its cells are instead of text.
GAPS = {3: {"sql_context": None}, 4: {"sql": None}, 7: {"sql_prompt": ""}, 8: {"sql": ["SELECT 1"]}, 9: {"sql": " "}}


@pytest.mark.parametrize("gaps", [GAPS, {29: {"sql_context": None}}, {0: {"sql": None}}])
def test_gretel_rows_with_gaps_are_left_out_and_the_others_keep_their_ids(loads, notices, capsys, monkeypatch, gaps):
    import datasets

    load = datasets.load_dataset

    def with_gaps(*names, **options):
        rows = load(*names, **options).to_list()
        return [row | gaps.get(n, {}) for n, row in enumerate(rows)]  # a list: one column of several types is no table

    whole = load_examples("gretel@abc", "test")
    monkeypatch.setattr(datasets, "load_dataset", with_gaps)
    rows = load_examples("gretel@abc", "test", limit=30)
    assert rows == [row for n, row in enumerate(whole) if n not in gaps]
    first = min(gaps)
    assert capsys.readouterr().out.splitlines() == [
        f"gretel@abc: {len(gaps)} of the first 30 rows in split 'test' are left out, the first is gretel-test-"
        f"{1000 + first} with an empty {next(iter(gaps[first]))}",
        f"gretel@abc has {30 - len(gaps)} rows in split 'test', 30 were asked for; {30 - len(gaps)} are taken",
    ]
    assert load_examples("gretel@abc", "test", limit=12) == rows[:12] and capsys.readouterr().out == ""


def test_gretel_is_split_before_rows_with_gaps_are_left_out(loads, monkeypatch):
    """Else one gap would move every row to another place."""
    import datasets

    load = datasets.load_dataset
    splits = [load_examples("gretel@abc", split) for split in ("train", "validation")]

    def without_a_schema(*names, **options):
        return load(*names, **options).map(lambda row: {"sql_context": None if row["id"] % 5 == 0 else "CREATE x"})

    monkeypatch.setattr(datasets, "load_dataset", without_a_schema)
    for split, rows in zip(("train", "validation"), splits, strict=True):
        ids = [row.id for row in rows if int(row.id[-4:]) % 5]
        assert [row.id for row in load_examples("gretel@abc", split)] == ids and 0 < len(ids) < len(rows)


def test_gretel_of_gaps_alone_is_one_line(loads, monkeypatch):
    import datasets

    row = {"id": 0, "sql_prompt": "q", "sql_context": "s", "sql": None}
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **options: datasets.Dataset.from_list([row]))
    with pytest.raises(UserError, match="^gretel@abc has no rows in split 'test'"):
        load_examples("gretel@abc", "test")


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
