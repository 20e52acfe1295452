"""What the study says of its committed runs, checked on the predictions as committed.

A run of one's own may end a little differently on another machine; the claims are about the committed ones.
"""

import json
import subprocess

import pytest

from common.settings import ROOT
from common.statistics import paired_difference, paired_rows

SEARCHED = ("sft-full", "sft-lora", "sft-qlora", "sft-prompt-random", "sft-prompt-text")
METHODS = (*SEARCHED, "example-lora", "example-fullft", "example-qlora")


def git(*command: str) -> bytes:
    process = subprocess.run(["git", *command], cwd=ROOT, capture_output=True)
    if process.returncode and not (ROOT / ".git").exists():
        pytest.skip("no git here, so nothing says what was committed")
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout


def rows(method):
    lines = git("show", f"HEAD:results/cpu/{method}.predictions.jsonl").splitlines()
    return [row for row in map(json.loads, lines) if row.get("split", "test") == "test"]


@pytest.mark.parametrize("method", METHODS)
def test_a_trained_model_is_better_than_the_baseline(method):
    base, trained = paired_rows(rows("baseline"), rows(method))
    difference = paired_difference([row["match"] for row in base], [row["match"] for row in trained])
    assert len(base) == 160
    assert difference.low > 0
    assert difference.value >= (0.1 if "prompt" in method else 0.25)


@pytest.mark.parametrize("method", ["example-lora", "sft-full"])
def test_a_good_method_learns_and_leaves_room(method):
    answers = rows(method)
    assert 0.45 <= sum(row["match"] for row in answers) / len(answers) <= 0.80


@pytest.mark.parametrize("method", ["baseline", "baseline-nf4", "example-lora", "sft-full"])
def test_every_row_of_the_embedded_data_can_be_scored(method):
    assert all(row["match"] is not None for row in rows(method))


def test_the_evaluations_of_a_training_cost_less_than_half_of_it():
    """Three of them answer and score enough validation rows to choose weights by."""
    names = git("ls-tree", "--name-only", "HEAD", "results/cpu/").decode().split()
    records = [json.loads(git("show", f"HEAD:{name}")) for name in names if name.endswith(".json")]
    shares = {
        record["method"]: record["cost"]["validation_seconds"] / record["cost"]["train_seconds"]
        for record in records
        if record.get("cost", {}).get("train_seconds")
    }
    assert set(METHODS) <= shares.keys()
    assert max(shares.values()) <= 0.5, shares
