"""The page of answers: what it holds, that nothing in it can run, and what is refused. How it behaves: its own file."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from common import settings
from common.results import explorer
from common.results.explorer import page, selection
from common.results.formats import OUTCOMES
from common.results.sections import scorer_digest
from common.settings import ROOT, UserError
from tests.unit import explorer_records
from tests.unit.explorer_records import ENDING, HOSTILE, constants, examples, made_up
from tests.unit.records import write

QUERY = 1  # an example that reads, without ORDER BY


def answers() -> dict:
    """Methods by what they answer: the reference, a constant, other things that are wrong."""
    wrong = [
        HOSTILE,
        ENDING,
        "",
        "SELECT 1; SELECT 2",
        "DELETE FROM x",
        "```sql\nSELECT 1;\n```",
        "SELECT 2",
        "SELECT 3",
    ]
    return {
        "baseline": lambda number, example: wrong[number],
        "sft-lora": lambda number, example: f"```sql\n{example.sql}\n```",
        "lucky": lambda number, example: constants(example) if number == QUERY else example.sql,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("records")
    explorer_records.write(place, answers())
    explorer.write(place)
    return place


def contents(text: str) -> dict:
    packed = re.search(r'<script type="application/octet-stream" id="contents">([^<]*)</script>', text)[1]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def text(folder) -> str:
    return (folder / explorer.page.NAME).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def values(text) -> dict:
    return contents(text)


def answer_of(values: dict, method: str, number: int) -> tuple[dict, dict]:
    """A question and a method's answer to it."""
    names, question = [each["name"] for each in values["methods"]], values["questions"][number]
    return question, question["answers"][question["given"][names.index(method)]]


def test_every_answer_of_every_run_is_there(values):
    rows = examples()
    for method, answer in answers().items():
        for number, example in enumerate(rows):
            question, line = answer_of(values, method, number)
            assert (question["id"], question["question"], question["sql"]) == (
                example.id,
                example.question,
                example.sql,
            )
            assert values["schemas"][question["schema"]]["sql"] == example.schema
            assert line["completion"] == answer(number, example)
    first = {"name": "baseline", "model": "m/small", "kind": "baselines", "right": "0.000 [0.000, 0.390]"}
    assert values["methods"][0] == first and len(values["methods"]) == 3
    assert [question["split"] for question in values["questions"]] == ["test"] * 6 + ["test_unseen"] * 2


def test_equal_answers_schemas_and_results_are_there_once(values):
    schemas = [schema["sql"] for schema in values["schemas"]]
    assert len(schemas) == len(set(schemas))
    for question in values["questions"]:
        results = [json.dumps(result) for result in question["results"]]
        assert len(results) == len(set(results))
    question = values["questions"][0]  # lucky and sft-lora differ in the fence, so in the published verdict
    assert len(question["answers"]) == 3 and question["answers"][1]["sql"] == question["sql"]


def test_both_results_of_a_right_answer_are_one(values):
    question, line = answer_of(values, "sft-lora", QUERY)
    assert line["outcome"] == "match" and line["verdicts"] == "nyy" and line["result"] == question["result"]
    result = question["results"][line["result"]]
    assert result["tables"][0]["rows"] and result["tables"][0]["columns"] == ["run_by"]


def test_what_gives_no_rows_has_the_scorers_reason(values):
    for number, outcome in ((1, "syntax_error"), (2, "empty_prediction"), (4, "schema_error")):
        _, line = answer_of(values, "baseline", number)
        assert line["outcome"] == outcome and line["detail"] and "result" not in line


def test_a_robust_refusal_shows_the_database_that_refuses(values):
    question, line = answer_of(values, "lucky", QUERY)
    assert line["verdicts"] == "yyn" and line["detail"].startswith("on generated database ")
    given, other = (question["results"][each["result"]]["tables"][0]["rows"] for each in (question, line))
    assert given == other  # on the given database; the columns have other names
    number = line["refusal"]["number"]
    there = question["generated"][str(number)]
    theirs, ours = (question["results"][place] for place in (there["result"], line["refusal"]["result"]))
    assert theirs["tables"][0]["rows"] != ours["tables"][0]["rows"]
    schema = values["schemas"][question["schema"]]["database"]["tables"]
    assert [table["name"] for table in there["database"]["tables"]] == [table["name"] for table in schema]
    assert there["database"]["tables"] != schema


def test_a_schemas_tables_have_their_rows(values):
    tables = values["schemas"][0]["database"]["tables"]
    digs = next(table for table in tables if table["name"] == "digs")
    assert digs["columns"] == ["land", "depth", "start_year", "end_year"] and digs["rows"][0][1] == ["6.4"]


def test_outcomes_have_words(values):
    assert {answer["outcome"] for question in values["questions"] for answer in question["answers"]} <= OUTCOMES.keys()
    assert values["outcomes"] == OUTCOMES


def test_the_same_records_give_the_same_bytes(folder, text):
    explorer.write(folder)
    assert (folder / page.NAME).read_text(encoding="utf-8") == text


def test_nothing_of_the_data_stands_in_the_page_as_html(text, values):
    """All of it is in base64, whatever it holds; the page has its own two scripts and no third."""
    assert any(answer["completion"] == HOSTILE for answer in values["questions"][0]["answers"])
    assert any(answer["completion"] == ENDING for answer in values["questions"][1]["answers"])
    assert "hacked" not in text and "onerror" not in text
    assert len(re.findall("<script", text)) == 2 and len(re.findall("</script", text)) == 2
    assert "{{" not in text


def test_a_hostile_profile_is_text(values):
    text = page.render({**values, "profile": "</title><script>alert(1)</script>"})
    assert "&lt;/title&gt;&lt;script&gt;alert(1)" in text and len(re.findall("<script", text)) == 2


def test_the_policy_allows_the_pages_own_script_and_style_alone(text):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    for name, pattern in (("script-src", r"<script>(.*?)</script>"), ("style-src", r"<style>(.*?)</style>")):
        digest = hashlib.sha256(re.search(pattern, text, re.DOTALL)[1].encode()).digest()
        assert f"{name} 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy


def test_the_page_names_nothing_to_load(text):
    assert not re.findall(r"""(?:src|href)=["'](?!#)|url\(|@import|https?://""", text)


def test_scripts_make_no_html_of_texts():
    sources = sorted(Path(page.__file__).parent.glob("*.js"))
    assert sorted(path.name for path in sources) == sorted(page._SCRIPTS)
    for path in sources:
        hits = re.findall(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|DOMParser", path.read_text()
        )
        assert not hits, path.name


@pytest.mark.parametrize("path", sorted(Path(page.__file__).parent.glob("*.[jc]s*")), ids=lambda path: path.name)
def test_scripts_and_styles_are_short(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 320 and max(map(len, lines)) <= 120


def test_a_key_is_written_nowhere(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-very-secret")
    values = made_up(1, ["baseline"])
    values["questions"][0]["answers"][0]["completion"] = "SELECT 'gsk-very-secret'"
    assert settings.key("GROQ_API_KEY") == "gsk-very-secret"
    assert contents(page.render(values))["questions"][0]["answers"][0]["completion"] == "SELECT '<key>'"


def test_a_page_is_current_until_a_record_changes(folder, tmp_path):
    assert explorer.is_current(folder)
    assert not explorer.is_current(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert explorer.is_current(tmp_path)
    for path in tmp_path.glob("lucky.*"):
        path.unlink()
    assert not explorer.is_current(tmp_path)


@pytest.mark.parametrize("source", ["gretel", "spider"])
def test_other_data_than_embedded_are_refused(source, tmp_path):
    write("baseline", "yn", tmp_path, data={"source": source})
    with pytest.raises(UserError, match=f"baseline.json is of '{source}', whose rows no page may hold"):
        explorer.write(tmp_path)
    assert not (tmp_path / page.NAME).exists()


TODAY = {"code": {"scorer_digest": scorer_digest()}}


@pytest.mark.parametrize("changes", [{}, TODAY | {"scoring": {"sqlite": "3.0.0"}}], ids=["scorer", "sqlite"])
def test_verdicts_of_another_scorer_are_refused(changes, tmp_path):
    """The results that the page shows beside them would be others."""
    write("baseline", "yn", tmp_path, **changes)
    with pytest.raises(
        UserError, match=r"are of another scorer, .*; `python -m common.results rescore .*/\*.json` gives"
    ):
        explorer.write(tmp_path)


def test_rows_that_are_not_todays_are_refused(tmp_path):
    write("baseline", "yn", tmp_path, **TODAY)
    with pytest.raises(UserError, match="the data of today are not its rows"):
        explorer.write(tmp_path)


def test_a_folder_without_answers_is_refused(tmp_path):
    with pytest.raises(UserError, match="there are no records in .*; run a notebook first"):
        explorer.write(tmp_path)
    write("baseline", "??", tmp_path)
    with pytest.raises(UserError, match="no run in .* answered anything; run a notebook first"):
        explorer.write(tmp_path)


def test_runs_with_different_decoding_share_no_page(tmp_path):
    for method, tokens in (("baseline", 96), ("sft-lora", 24)):
        write(method, "yn", tmp_path, decoding={"max_new_tokens": tokens})
    with pytest.raises(UserError, match="differ in decoding and cannot share a table"):
        explorer.write(tmp_path)


def test_without_generated_databases_the_strict_verdict_stands(tmp_path):
    explorer_records.write(tmp_path, {"baseline": lambda number, example: example.sql}, databases=0)
    explorer.write(tmp_path)
    values = contents((tmp_path / page.NAME).read_text(encoding="utf-8"))
    assert {question["answers"][0]["verdicts"][1:] for question in values["questions"]} == {"y-"}
    assert not any("generated" in question for question in values["questions"])


def test_the_command_says_what_it_wrote_or_why_not(folder, tmp_path):
    command = [sys.executable, "-m", "common.results", "explorer", "--folder"]
    done = subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert re.fullmatch(r".*explorer\.html: 3 methods, 8 questions, 24 answers, 0\.\d MB\n", done.stdout), done.stderr
    write("baseline", "yn", tmp_path, data={"source": "gretel"})
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "is of 'gretel'" in done.stderr


def test_a_run_that_answers_nothing_is_left_out(tmp_path):
    write("baseline", "yn", tmp_path, **TODAY)
    write("reward-model", "", tmp_path, data={"source": "gretel"})
    assert [entry.method for entry in selection.runs(tmp_path)] == ["baseline"]
