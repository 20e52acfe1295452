"""The embedded data set: what it promises, checked from outside, with SQL run by code of the tests."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from common import settings
from common.data import Example
from common.profiles import PROFILES
from common.prompts import messages
from common.scoring import Scorer
from common.synthetic import COMPLEXITIES, SPLITS, TASK_TYPES, generate
from common.synthetic.mix import FAMILIES, SHARES
from tests.unit.lookups import answer, moved, nearest, run, same

COLUMNS = ["id", "domain", "domain_description", "sql_complexity", "sql_complexity_description", "sql_task_type"]
COLUMNS += ["sql_task_type_description", "sql_prompt", "sql_context", "sql", "sql_explanation"]
EACH = 600  # rows per split: 3,600 in all
GOLDEN = {  # of the first 100 rows; a change here changes the data, and every committed result with it
    "train": "5d2a9af31e6de111",
    "validation": "1394cc48a4170821",
    "test": "8e017e8c92d16922",
    "test_unseen": "3c757d1a95807c2b",
    "test_forms": "9fc9f668f8161f6e",
    "post": "2a2fdb1ff3b26590",
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
    assert len(everything) == EACH * len(SPLITS)
    started = time.process_time()
    for row in everything:
        run(row["sql_context"], row["sql"])
    running = time.process_time() - started
    print(f"\n{len(everything)} rows in {generation[1]:.1f} s, run in {running:.1f} s")
    assert generation[1] < 60 * running  # about twenty times: most drafts are for another split or not worth asking


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
    for split in set(SPLITS) - {"test_unseen"}:
        assert len(names[split]) >= 24
        assert not names[split] & names["test_unseen"]
        assert not tables[split] & tables["test_unseen"]


def test_the_mix_is_as_the_table_says(everything):
    assert set(SHARES) == set(COMPLEXITIES) == {family.complexity for family in FAMILIES}
    assert {family.task_type for family in FAMILIES} == set(TASK_TYPES)
    counts = Counter(row["sql_complexity"] for row in everything)
    print("\n" + ", ".join(f"{name} {count / len(everything):.1%}" for name, count in counts.most_common()))
    for name, share in SHARES.items():  # 2.7 standard errors or more
        assert counts[name] / len(everything) == pytest.approx(share / sum(SHARES.values()), abs=0.022)
    for split in SPLITS:
        first = [row for row in everything if row["id"].startswith(f"{split}-")][:400]
        assert {row["sql_complexity"] for row in first} == set(COMPLEXITIES)
        assert {row["sql_task_type"] for row in first} == set(TASK_TYPES)


def test_every_family_is_drawn(everything):
    explanations = {row["sql_explanation"] for row in everything}
    assert explanations == {family.explanation for family in FAMILIES}
    assert len(explanations) == len(FAMILIES)


def test_every_reference_runs_and_does_something(everything):
    empty = 0
    for row in everything:
        context, sql = row["sql_context"], row["sql"]
        assert "\n" not in context and sql.endswith(";") and sql.count(";") == 1
        if row["sql_task_type"] in ("data retrieval", "analytics and reporting"):
            empty += not any(value is not None for answer_row in answer(context, sql) for value in answer_row)
        else:
            process = run(context, sql)
            assert process["before"] != process["after"], row
            assert (process["before"]["objects"] == process["after"]["objects"]) == (
                row["sql_task_type"] == "data manipulation"
            )
    print(f"\nempty results: {empty / len(everything):.1%}")
    assert 0.01 < empty / len(everything) < 0.08  # questions about a category that the given rows do not have


@pytest.mark.slow
def test_rows_fit_the_laptop_profile(rows):
    """In tokens of the profile's model where its weights are here; its tokenizer is in them."""
    weights = settings.outputs() / "weights" / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    if not weights.exists():
        pytest.skip("needs the weights of the cpu profile in outputs/weights, whose tokenizer counts the tokens")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), gguf_file=weights.name)
    for split in SPLITS:
        lengths = []
        for row in rows[split][:150]:
            example = Example(id=row["id"], question=row["sql_prompt"], schema=row["sql_context"], sql=row["sql"])
            chat = [*messages(example), {"role": "assistant", "content": row["sql"]}]
            lengths.append(len(tokenizer(tokenizer.apply_chat_template(chat, tokenize=False))["input_ids"]))
        print(f"\n{split}: {sum(lengths) / len(lengths):.1f} tokens a row, at most {max(lengths)}")
        assert sum(lengths) / len(lengths) <= 230  # 220 over all splits


def test_a_lookup_of_its_own_questions_does(rows):
    some = rows["train"][:100]
    hits = [
        same(row["sql_context"], row["sql"], guess["sql"]) for row, guess in zip(some, nearest(some, some), strict=True)
    ]
    assert sum(hits) / len(hits) > 0.95  # two rows may ask the same of different data


@pytest.mark.parametrize("split", ["test_unseen", "test_forms"])
def test_the_study_s_own_look_up_solves_little(rows, split):
    """As the record `retrieval` has it: rows of the laptop's last stage, robust match, names and values moved."""
    test = rows[split][:320]
    guesses = moved(rows["train"][: PROFILES["cpu"].stages[-1].train_rows], test)
    pairs = [
        {"schema": row["sql_context"], "reference": row["sql"], "prediction": guess}
        for row, guess in zip(test, guesses, strict=True)
    ]
    with Scorer(workers=2, databases=PROFILES["cpu"].databases) as scorer:
        share = sum(bool(verdict.robust_match) for verdict in scorer.score_batch(pairs)) / len(pairs)
    print(f"\n{split}: {share:.3f}")
    assert share <= 0.15
