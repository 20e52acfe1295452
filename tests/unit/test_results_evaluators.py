"""Orders, flips and kinds of disagreement by hand; the file of verdicts and evaluators.md from records in a folder."""

import json
from dataclasses import asdict

import pandas
import pytest

from common import results
from common.data import load_examples
from common.evaluators import EVALUATORS, RESTATED
from common.prompts import extract_sql
from common.results import __main__ as command
from common.results import readme
from common.results.entries import select
from common.results.evaluators import report, store
from common.results.evaluators.kinds import LENIENT, STRICT, count_kinds, disagreements, lenient_kind, strict_kind
from common.results.evaluators.ranking import compare_pairs, panel, ranks, scores, taus
from common.results.sections import split_data
from common.scoring import Scorer
from common.settings import UserError
from tests.unit import records

place = records.place
OTHERS = [name for name in EVALUATORS if name != "robust"]


def column(letters):
    return [{"y": True, "n": False, "?": None}[letter] for letter in letters]


def verdicts(split="test", relation="", order="", bare="", **letters):
    """A table as of `store.tables`: y, n or ? a row and evaluator; those that are not named are as `robust`."""
    n = len(letters["robust"])
    columns = {name: column(letters.get(name, letters["robust"])) for name in EVALUATORS}
    columns |= {"relation": list(relation or "=" * n), "order": list(order or "-" * n)}
    columns |= {"bare": column(bare or "y" * n)}
    index = pandas.MultiIndex.from_tuples([(split, f"row-{i}") for i in range(n)], names=["split", "id"])
    return pandas.DataFrame({name: pandas.Series(c, index=index, dtype=object) for name, c in columns.items()})


def of(tables, schemas=None):
    return panel(tables, "test", schemas or {})


def test_methods_stand_in_the_order_of_robust_and_rows_without_a_verdict_are_left_out():
    tables = {"b": verdicts(robust="ynn?", text="nnn?"), "a": verdicts(robust="ynny"), "c": verdicts(robust="yyyn")}
    table = of(tables)
    assert table.methods == ["c", "a", "b"] and table.rows == 3  # a and b tie: by name
    assert table.verdicts["text"].sum(axis=0).tolist() == [3, 1, 0]
    assert ranks(table, "robust") == [1, 2, 2] and ranks(table, "text") == [1, 2, 3]
    assert scores(table)["b"]["text"].value == 0.0 and scores(table)["a"]["robust"].value == pytest.approx(1 / 3)
    assert taus(table)["text"].value == pytest.approx(2 / (2 * 3) ** 0.5)  # robust ties a pair


def test_schemas_that_rows_share_are_drawn_whole():
    tables = {"a": verdicts(robust="yn")}
    assert of(tables, {"row-0": "s", "row-1": "s"}).groups == ["s", "s"]
    assert of(tables, {"row-0": "s", "row-1": "t"}).groups is None
    assert of(tables, {"row-0": "s", "row-1": None}).groups is None


def test_flips_by_hand():
    """a is right where b is wrong on 12 rows by robust, and the other way round by published: McNemar's exact p is
    2 / 2¹² for each. c is 2 rows below b by robust and level with it by text."""
    right = {"a": "y" * 12 + "n" * 8, "b": "n" * 20, "c": "n" * 20}
    right["b"] = "n" * 12 + "y" * 2 + "n" * 6
    tables = {
        "a": verdicts(robust=right["a"], published="n" * 20),
        "b": verdicts(robust=right["b"], published="y" * 12 + "n" * 8),
        "c": verdicts(robust=right["c"], text="n" * 12 + "y" * 2 + "n" * 6, published="n" * 20),
    }
    table = of(tables)
    assert table.methods == ["a", "b", "c"]
    pairs = compare_pairs(table)
    assert set(pairs) == set(OTHERS)
    (flip,) = pairs["published"].flips
    assert (flip.better, flip.worse, flip.evaluator) == ("a", "b", "published")
    assert flip.reference.value == pytest.approx(10 / 20) and flip.other.value == pytest.approx(-12 / 20)
    # by robust: a and c part on 12 rows (p 2/2¹²), a and b on 12 + 2 rows (12 of 14), b and c on 2 (p 1/2)
    assert flip.reference.p == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert flip.reference_p == pytest.approx(2 * flip.reference.p)  # the second of three by Holm
    # by published: a and b, b and c on 12 rows each; a and c on none
    assert flip.other.p == pytest.approx(2 / 2**12) and flip.other_p == pytest.approx(3 * 2 / 2**12)
    assert flip.is_significant and flip.is_certain
    text, table = report._flips_sentence([("test", flip)]), report._flips_table([("test", flip)])
    assert text.endswith("in 1 both: on `test` `a` above `b`, and below it by `published`.")
    assert "| **`a` − `b`** | `published` | test |" in table
    many = report._flips_sentence([("test", flip)] * 4 + [("test_forms", flip)] * 2)
    assert many.endswith("in 6 both: 4 by `published` on `test`, 2 by `published` on `test_forms`. These are in bold.")
    assert (pairs["published"].ties, pairs["published"].significant, pairs["published"].confirmed) == (1, 2, 0)
    assert pairs["text"].flips == [] and pairs["text"].ties == 1
    assert (pairs["strict"].ties, pairs["strict"].significant, pairs["strict"].confirmed) == (0, 2, 2)


def test_an_order_that_the_rows_do_not_part_is_no_certain_one():
    tables = {"a": verdicts(robust="yyn", set="nnn"), "b": verdicts(robust="nny", set="nny")}
    (flip,) = compare_pairs(of(tables))["set"].flips
    assert flip.reference.p == flip.other.p == 1.0 and not flip.is_significant and not flip.is_certain


def test_disagreements_and_kinds_by_hand():
    tables = {
        "a": verdicts(robust="yn?", set="ny?", strict="yy?", relation="~==", published="ny?", bare="nyy"),
        "b": verdicts(robust="nn", set="yy", strict="nn", relation="do"),
    }
    counts = disagreements(tables)
    assert counts["set"]["robust"] == 3 and counts["robust"]["set"] == 1 and counts["robust"]["text"] == 0
    assert counts["strict"]["robust"] == 1 and counts["robust"]["strict"] == 0 and counts["set"]["strict"] == 2
    lenient, strict = count_kinds(tables, "set")
    assert lenient == {"luck": 1, "duplicates": 1, "order": 1} and strict == {"digits": 1}
    lenient, strict = count_kinds(tables, "published")
    assert lenient == {"luck": 1} and strict == {"prose": 1}


@pytest.mark.parametrize(
    "evaluator, match, relation, kind",
    [
        ("set", True, "=", "luck"),
        ("published", False, "w", "write"),
        ("published", False, "!", "after"),
        ("bag", False, "0", "empty"),
        ("bag", False, "c", "columns"),
        ("bag", False, "p", "columns"),
        ("set", False, "d", "duplicates"),
        ("set", False, "o", "order"),
        ("clauses", False, "x", "words"),
        ("clauses", True, "=", "luck"),
        ("published", False, "x", "other"),
    ],
)
def test_why_an_evaluator_accepts_more(evaluator, match, relation, kind):
    assert kind in LENIENT and lenient_kind(evaluator, match=match, relation=relation) == kind


@pytest.mark.parametrize(
    "evaluator, relation, order, bare, kind",
    [
        ("published", "o", "o", False, "prose"),
        ("published", "w", "-", True, "after"),
        ("published", "o", "-", True, "order"),
        ("bag", "o", "o", True, "ties"),
        ("bag", "x", "o", False, "ties"),
        ("bag", "o", "i", False, "inner"),
        ("set", "~", "-", True, "digits"),
        ("set", "x", "-", True, "other"),
        ("text", "=", "-", True, "words"),
    ],
)
def test_why_an_evaluator_refuses_more(evaluator, relation, order, bare, kind):
    assert kind in STRICT and strict_kind(evaluator, relation=relation, order=order, bare=bare) == kind


# Records in a folder


@pytest.fixture(scope="module")
def examples():
    return load_examples("embedded", "test", limit=6)


def write(method, completions, examples):
    """A run's record and predictions, judged by the real scorer."""
    with Scorer(workers=1) as scorer:
        judgements = scorer.score_batch(zip(examples, completions, strict=True))
    rows = records.predictions("n" * len(examples))
    for row, example, completion, verdict in zip(rows, examples, completions, judgements, strict=True):
        row |= {"id": example.id, "completion": completion, "sql": extract_sql(completion), **asdict(verdict)}
    values = records.record(method, rows, data=split_data(examples))
    return results.write_record(results.folder("cpu"), values, rows)


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["python -m common.results", *words])
    return command.main()


def test_the_command_judges_what_is_new_and_writes_what_the_records_give(place, examples, monkeypatch, capsys):
    references = [example.sql for example in examples]
    write("baseline", ["SELECT 'no such name'"] * 6, examples)
    write("lora", [f"```sql\n{text}\n```" for text in references], examples)
    assert run(monkeypatch, "evaluators", "--profile", "cpu") == 0
    folder = place / "cpu"
    assert "baseline: 6 answers judged\nlora: 6 answers judged\nwritten:" in capsys.readouterr().out
    lines = {line["method"]: line for line in map(json.loads, (folder / store.FILE).read_text().splitlines())}
    assert lines["lora"]["bag"] == lines["lora"]["set"] == lines["lora"]["text"] == "111111"
    assert lines["baseline"]["text"] == "000000" and len(lines["baseline"]["relation"]) == 6
    text = (folder / report.REPORT).read_text()
    assert "Every evaluator" not in text  # published refuses the fences: both runs are first by it
    line = next(line for line in text.splitlines() if line.startswith("| `lora` | 1.000 ["))
    assert line.count("(1)") == len(EVALUATORS) and "| 0.000 [" in line
    assert "| prose or a fence around the statement | 0 | 6 | 0 | 0 | 0 | 0 |" in text
    assert run(monkeypatch, "evaluators", "--check") == 0
    run(monkeypatch, "evaluators")
    assert "baseline: judged before\nlora: judged before\n" in capsys.readouterr().out
    assert (folder / report.REPORT).read_text() == text


def test_a_run_that_is_not_judged_is_named_and_no_stale_line_counts(place, examples, monkeypatch):
    write("baseline", ["SELECT 1"] * 6, examples)
    folder = place / "cpu"
    assert report.is_current(folder) and store.judge(folder)  # nothing was judged, then something
    assert not report.is_current(folder)
    report.save(folder)
    report.check(folder)
    write("lora", ["SELECT 2"] * 6, examples)
    with pytest.raises(UserError, match="cpu/evaluators.md differs from the records; `python -m common.results evalua"):
        run(monkeypatch, "evaluators", "--check")
    report.follow(folder)
    assert "Not judged yet, and in no table: `lora`." in (folder / report.REPORT).read_text()
    write("baseline", ["SELECT 3"] * 6, examples)  # other predictions than those judged
    assert list(store.tables(folder, select(folder))) == []
    assert "Not judged yet, and in no table: `baseline`, `lora`." in report.markdown(folder)
    store.judge(folder)
    assert list(store.tables(folder, select(folder))) == ["baseline", "lora"]
    monkeypatch.setattr(store, "evaluators_digest", lambda: "other code")
    assert store.tables(folder, select(folder)) == {}


def test_a_failed_run_is_left_out_and_runs_that_are_not_comparable_are_refused(place, examples):
    write("baseline", ["SELECT 1"] * 6, examples)
    failed = records.record("grpo", [], status="failed", data=split_data(examples))
    failed["metrics"] = {name: {} for name in failed["metrics"]}
    results.write_record(place / "cpu", failed, [])
    assert store.judge(place / "cpu") == ["baseline: 6 answers judged"]
    assert "grpo" not in report.markdown(place / "cpu") and "## Orders" not in report.markdown(place / "cpu")
    records.write("other", "yyyyyy")
    with pytest.raises(UserError, match="differ in data.ids_hash and cannot share a table"):
        store.judge(place / "cpu")


@pytest.mark.parametrize("text", ["{", "null\n", "[" * 100_000, '{"method": "baseline"}\n', "[]\n"])
def test_a_damaged_file_says_what_to_do(place, examples, text):
    write("baseline", ["SELECT 1"] * 6, examples)
    (place / "cpu" / store.FILE).write_text(text)
    with pytest.raises(UserError, match="is damaged .* delete it and call python -m common.results evaluators"):
        report.markdown(place / "cpu")


@pytest.mark.parametrize("value", ["111", "11111?", None, 5])
def test_a_line_of_other_letters_or_rows_says_what_to_do(place, examples, value):
    write("baseline", ["SELECT 1"] * 6, examples)
    store.judge(place / "cpu")
    line = json.loads((place / "cpu" / store.FILE).read_text())
    (place / "cpu" / store.FILE).write_text(json.dumps(line | {RESTATED[0]: value}) + "\n")
    with pytest.raises(UserError, match="is damaged .* delete it and call python -m common.results evaluators"):
        report.markdown(place / "cpu")


def test_the_verb_readme_writes_and_checks_it_too(place, examples, monkeypatch, tmp_path, capsys):
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    write("baseline", ["SELECT 1"] * 6, examples)
    store.judge(place / "cpu")
    with pytest.raises(UserError, match="evaluators.md differs"):
        run(monkeypatch, "readme", "--check")
    assert run(monkeypatch, "readme") == 0 and run(monkeypatch, "readme", "--check") == 0
    path = place / "cpu" / report.REPORT
    path.write_text(path.read_text().replace("6 rows", "7 rows"))
    with pytest.raises(UserError, match="evaluators.md differs"):
        run(monkeypatch, "readme", "--check")
