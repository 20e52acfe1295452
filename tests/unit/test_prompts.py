"""The messages word for word, and a table of completions with the SQL that each of them holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.data import Example
from common.prompts import completion_ids, extract_sql, messages, prompt_ids, render
from common.settings import ROOT, UserError

TIMBER = Example(
    id="timber",
    question="What is the total volume of timber sold by each salesperson, sorted by salesperson?",
    schema="CREATE TABLE salesperson (salesperson_id INT, name TEXT); INSERT INTO salesperson VALUES (1, 'John Doe');",
    sql="SELECT salesperson_id FROM salesperson;",
)


def test_messages_are_the_specifications():
    # The text of SPECIFICATION.md, "Message structure", restated here with its f-string.
    context, prompt = TIMBER.schema, TIMBER.question
    assert messages(TIMBER) == [
        {
            "role": "system",
            "content": f"The user asks a question. Your task is to generate the SQL query to answer that question. Return SQL query only. The context of the question is the following: '{context}'",  # noqa: E501
        },
        {"role": "user", "content": prompt},
    ]


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (a TEXT DEFAULT 'it''s');",
        "-- {context} {0} {x!r:>{w}} }} {{",
        "%s %(a)d \\n \\1 $x ${y}",
        "",
        "é\u2028数",
    ],
)
def test_schema_and_question_stand_as_they_are(schema):
    system, user = messages(Example(id="", question=schema, schema=schema, sql=""))
    assert system["content"].endswith(f"the following: '{schema}'") and user["content"] == schema


class Tokenizer:
    """One id a character, and a template that shows what it was asked for."""

    eos_token_id = 0

    def apply_chat_template(self, turns, *, tokenize, add_generation_prompt, enable_thinking):
        assert (tokenize, add_generation_prompt, enable_thinking) == (False, True, False)
        return "".join(f"[{turn['role']}]{turn['content']}" for turn in turns) + "[assistant]<think></think>"

    def __call__(self, text, *, add_special_tokens):
        assert add_special_tokens is False
        return {"input_ids": [ord(character) for character in text]}


def test_prompt_and_completion_follow_one_another():
    tokenizer = Tokenizer()
    system, user = messages(TIMBER)
    prompt = f"[system]{system['content']}[user]{TIMBER.question}[assistant]<think></think>"
    assert render(TIMBER, tokenizer) == prompt
    whole = prompt_ids(TIMBER, tokenizer) + completion_ids(TIMBER, tokenizer)
    assert whole == [ord(character) for character in prompt + TIMBER.sql] + [Tokenizer.eos_token_id]


SHOTS = [
    Example(id="a", question="How many?", schema="CREATE TABLE a (x INT);", sql="SELECT COUNT(*) FROM a;"),
    Example(id="b", question="Which?", schema="CREATE TABLE b (y INT);", sql="SELECT y FROM b;"),
]


def test_shots_are_whole_turns_before_the_prompt_which_stays_as_it_is():
    conversation = messages(TIMBER, SHOTS)
    assert conversation[-2:] == messages(TIMBER)
    assert conversation[:3] == [*messages(SHOTS[0]), {"role": "assistant", "content": "SELECT COUNT(*) FROM a;"}]
    assert [message["role"] for message in conversation] == ["system", "user", "assistant"] * 2 + ["system", "user"]
    tokenizer = Tokenizer()
    whole = render(TIMBER, tokenizer, SHOTS)
    assert whole.endswith(render(TIMBER, tokenizer)) and whole.count("CREATE TABLE") == 3
    assert prompt_ids(TIMBER, tokenizer, SHOTS) == [ord(character) for character in whole]
    assert render(TIMBER, tokenizer, []) == render(TIMBER, tokenizer)


def test_a_template_that_cannot_have_shots_is_refused_in_one_line(monkeypatch):
    def first_only(self, turns, **_):
        return "".join(turn["content"] for turn in [*turns[:1], turns[-1]])

    def strict(self, turns, **_):
        raise ValueError("After the optional system message,\nroles must alternate")

    monkeypatch.setattr(Tokenizer, "apply_chat_template", first_only)
    assert render(TIMBER, Tokenizer())
    with pytest.raises(UserError, match="^the model's chat template leaves out what shots say; take a model whose"):
        render(TIMBER, Tokenizer(), SHOTS)
    monkeypatch.setattr(Tokenizer, "apply_chat_template", strict)
    with pytest.raises(UserError, match=r"fails on shots \(After the optional system message, roles must alternate\)"):
        prompt_ids(TIMBER, Tokenizer(), SHOTS)


def test_qwen3_prompt_ends_behind_an_empty_think_block():
    folder = os.environ.get("QWEN3_TOKENIZER", "")
    if not Path(folder, "tokenizer.json").is_file():
        pytest.skip("needs QWEN3_TOKENIZER, a folder with Qwen3's tokenizer.json and tokenizer_config.json")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    system, user = (message["content"] for message in messages(TIMBER))
    assert render(TIMBER, tokenizer) == (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    ids = prompt_ids(TIMBER, tokenizer) + completion_ids(TIMBER, tokenizer)
    assert tokenizer.decode(ids) == render(TIMBER, tokenizer) + TIMBER.sql + "<|im_end|>"
    turn = f"<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n{SHOTS[1].sql}<|im_end|>\n<|im_start|>system\n"
    assert f"{turn}{system}" in render(TIMBER, tokenizer, SHOTS), "an earlier answer has no think block"


Q = "SELECT a FROM t WHERE b = 1"
TWO_LINES = "SELECT a\nFROM t"
COMPLETIONS = {
    # Nothing around it
    "plain": (Q, Q),
    "spaces around": (f"\n\n  {Q} \n\t", Q),
    "semicolon": (f"{Q};", f"{Q};"),
    "semicolons": (f"{Q};; ;", f"{Q};; ;"),
    "lower case": ("select a from t", "select a from t"),
    "mixed case": ("SeLeCt a FrOm t;", "SeLeCt a FrOm t;"),
    "several lines": (TWO_LINES, TWO_LINES),
    "CRLF": ("SELECT a\r\nFROM t;\r\n", "SELECT a\r\nFROM t;"),
    "blank lines inside": ("SELECT a\n\nFROM t\n\nWHERE b = 1", "SELECT a\n\nFROM t\n\nWHERE b = 1"),
    "blank lines, capitalised": ("Select a\n\nFrom t\n\nOrder By b", "Select a\n\nFrom t\n\nOrder By b"),
    "unicode": ("SELECT \"größe\" FROM 数据 WHERE n = '😀'", "SELECT \"größe\" FROM 数据 WHERE n = '😀'"),
    # Statements of other kinds
    "CTE": ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
    "insert": ("INSERT INTO t VALUES (1);", "INSERT INTO t VALUES (1);"),
    "update": ("UPDATE t SET a = 2", "UPDATE t SET a = 2"),
    "delete": ("DELETE FROM t", "DELETE FROM t"),
    "create": ("CREATE VIEW v AS SELECT 1", "CREATE VIEW v AS SELECT 1"),
    "values": ("VALUES (1), (2)", "VALUES (1), (2)"),
    "several statements": ("DELETE FROM t; INSERT INTO t VALUES (1);", "DELETE FROM t; INSERT INTO t VALUES (1);"),
    "transaction": ("BEGIN; DELETE FROM t; END;", "BEGIN; DELETE FROM t; END;"),
    "trigger": (
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; UPDATE t SET a = 1; END",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; UPDATE t SET a = 1; END",
    ),
    "MySQL names": ("SELECT `a`, `b c` FROM `t`", "SELECT `a`, `b c` FROM `t`"),
    # Strings and comments
    "semicolon in a string": ("SELECT 'x; y' FROM t", "SELECT 'x; y' FROM t"),
    "semicolon in a name": ('SELECT "x; y" FROM t', 'SELECT "x; y" FROM t'),
    "paragraph in a string": ("INSERT INTO t VALUES ('a\n\nThe b')", "INSERT INTO t VALUES ('a\n\nThe b')"),
    "quotes doubled": ("SELECT 'it''s; so' FROM t; Done.", "SELECT 'it''s; so' FROM t;"),
    "comment first": (f"-- the answer: SELECT 2\n{Q}", f"-- the answer: SELECT 2\n{Q}"),
    "block comment first": (f"/* a; b */ {Q}", f"/* a; b */ {Q}"),
    "comment behind": (f"{Q}; -- that; is it", f"{Q}; -- that; is it"),
    "semicolon in a comment": ("SELECT a -- x; Note\nFROM t", "SELECT a -- x; Note\nFROM t"),
    "block comment first, prose behind": (f"/* a; b */ {Q}; It counts.", f"/* a; b */ {Q};"),
    "string not closed": ("SELECT 'a; This b", "SELECT 'a; This b"),
    "name not closed": ('SELECT "a; This b', 'SELECT "a; This b'),
    # Fences
    "fence": (f"```sql\n{Q}\n```", Q),
    "fence without label": (f"```\n{Q};\n```", f"{Q};"),
    "fence, label in capitals": (f"```SQL\n{Q}\n```", Q),
    "fence of another dialect": (f"```sqlite\n{Q}\n```", Q),
    "fence, not closed": (f"```sql\n{Q}", Q),
    "fence, only closed": (f"{Q}\n```\nIt counts.", Q),
    "fence, spaces behind label": (f"```sql  \n{Q}\n```", Q),
    "fence on one line": (f"```sql {Q}```", Q),
    "fence on one line without label": (f"```{Q}```", Q),
    "fence with CRLF": ("```sql\r\nSELECT a\r\nFROM t\r\n```\r\n", "SELECT a\r\nFROM t"),
    "fence of tildes": (f"~~~sql\n{Q}\n~~~\nIt counts.", Q),
    "fence of four": (f"````sql\n{Q}\n````", Q),
    "fence with a title": (f'```sql title="q"\n{Q}\n```', Q),
    "fence, indented": (f"   ```sql\n   {Q}\n   ```", Q),
    "fence with a comment": (f"```sql\n-- the answer\n{Q}\n```", f"-- the answer\n{Q}"),
    "fence with a paragraph": (f"```sql\n{Q};\n\nThis counts.\n```", f"{Q};"),
    "fence within prose": (f"Here it is:\n\n```sql\n{Q}\n```\n\nIt counts; Select it.", Q),
    "two fences, the first counts": (f"```sql\n{Q}\n```\nor\n```sql\nSELECT 2\n```", Q),
    "two fences, sql before none": (f"```\nSELECT 2\n```\n```sql\n{Q}\n```", Q),
    "two fences, only one a statement": (f"```python\nprint(1)\n```\n```\n{Q}\n```", Q),
    "two fences, sql without statement": (f"```sql\nnothing\n```\n```text\n{Q}\n```", Q),
    "fence with prose alone": (f"```\nnothing\n```\n{Q}", Q),
    # Think blocks
    "think": (f"<think>\nSELECT 2?\n</think>\n\n{Q}", Q),
    "think, empty": (f"<think>\n\n</think>\n\n{Q}", Q),
    "think, capitals": (f"<THINK>SELECT 2</Think>{Q}", Q),
    "think, opened by the prompt": (f"SELECT 2 comes to mind.\n</think>\n{Q}", Q),
    "think, not closed": (f"<think>\n{Q}", ""),
    "think twice": (f"<think>a</think>b<think>c</think>{Q}", Q),
    "think with a fence": (f"<think>```sql\nSELECT 2\n```</think>\n```sql\n{Q}\n```", Q),
    # Prose
    "answer and colon": (f"Answer: {Q}", Q),
    "label and colon": (f"SQL: {Q};", f"{Q};"),
    "prose before": (f"The query is:\n\n{Q}", Q),
    "prose before, on a line": (f"You can ask this\n{Q}", Q),
    "bare label": (f"sql\n{Q}", Q),
    "prose behind a semicolon": (f"{Q}; This counts the rows.", f"{Q};"),
    "prose behind a semicolon, next line": (f"{Q};\nthis counts", f"{Q};"),
    "heading behind": (f"{Q};\n\n### Explanation\nIt counts.", f"{Q};"),
    "bold behind": (f"{Q};\n\n**Explanation:** it counts.", f"{Q};"),
    "list behind": (f"{Q};\n\n1. FROM reads t\n- WHERE", f"{Q};"),
    "quotation behind": (f'{Q};"', f"{Q};"),
    "paragraph behind": (f"{Q}\n\nThis query counts the rows; Select it.", Q),
    "paragraph behind, CRLF": (f"{Q}\r\n\r\nThis query counts.", Q),
    "prose before and behind": (f"Sure!\n{TWO_LINES};\nHope it helps", f"{TWO_LINES};"),
    "another question behind": (f"{Q};\n\nQuestion: and now?\nSELECT 2", f"{Q};"),
    # Inline code
    "inline code": (f"`{Q}`", Q),
    "inline code in prose": (f"Use `{Q}`, where `b` is the number.", Q),
    "inline code, two": (f"Use `{Q}` or `SELECT 2`.", Q),
    "inline code of two backticks": (f"``{Q}``", Q),
    "inline code with MySQL names": ("Try `SELECT `a` FROM `t``!", "SELECT `a` FROM `t`"),
    "inline code with a semicolon": (f"So `{Q};` it is", f"{Q};"),
    "inline code, not closed": (f"Use `{Q}", Q),
    # Marks that are a string of the statement, and strings next to marks
    "think tag in a string": ("SELECT a FROM t WHERE b = '<think>'", "SELECT a FROM t WHERE b = '<think>'"),
    "think's end in a string": ("SELECT a FROM t WHERE b = '</think>'", "SELECT a FROM t WHERE b = '</think>'"),
    "think that begins with a quotation": (f"<think>'a' it is</think>{Q}", Q),
    "think that ends with a quotation": (f'<think>it is "a"</think>{Q}', Q),
    "fence in a string": ("SELECT a FROM t WHERE b = '```'", "SELECT a FROM t WHERE b = '```'"),
    "fence in a string in a fence": ("```sql\nSELECT '```' FROM t\n```", "SELECT '```' FROM t"),
    "fence behind a string": ("```sql\nSELECT 'a'```\nIt counts.", "SELECT 'a'"),
    "fence before a quotation": (f'```sql\n{Q}```"so"', Q),
    # Marks without width, tags and bold
    "byte order mark": (f"\ufeff{Q}", Q),
    "byte order mark in a fence": (f"```sql\n\ufeff{Q}\n```", Q),
    "no width around": (f"\u200b{Q}\u200b", Q),
    "no width behind a semicolon": (f"{Q};\u2060", f"{Q};"),
    "space of other kinds around": (f"\u3000\u00a0{Q}\u2028", Q),
    "end token": (f"{Q}<|im_end|>", Q),
    "end token and another turn": (f"{Q}<|im_end|>\n<|im_start|>user", Q),
    "end of sequence": (f"{Q}</s>", Q),
    "tags around": (f"<answer>{Q}</answer>", Q),
    "tags around on lines": (f"<sql>\n{Q}\n</sql>", Q),
    "an end token in a string": ("SELECT '</s>' FROM t", "SELECT '</s>' FROM t"),
    "smaller than a quotient with a comment": ("SELECT a </* x */ b FROM t", "SELECT a </* x */ b FROM t"),
    "bold": (f"**{Q};**", f"{Q};"),
    "bold without semicolon": (f"It is **{Q}**", Q),
    "quoted": (f'"{Q}"', Q),
    "a shell's prompt": (f"sqlite> {Q};", f"{Q};"),
    # Prose that begins with a statement's word
    "prose begins with With": (f"With this schema, the query is:\n\n{Q};", f"{Q};"),
    "prose begins with Select": (f"Select all the rows:\n{Q}", Q),
    "prose begins with Update and a colon": (f"Update: this is it\n{Q}", Q),
    "a comment that ends with a colon": (f"-- the query:\n{Q}", f"-- the query:\n{Q}"),
    "a line that ends with a colon, and no more": ("Select all the rows:", "Select all the rows:"),
    "paragraph with a colon behind": (f"{Q}\n\nExplanation: it counts.", Q),
    "bold paragraph behind, no semicolon": (f"{Q}\n\n**Note** it counts", Q),
    "heading behind, no semicolon": (f"{Q}\n\n### Note", Q),
    # Nothing to find: what cannot be told apart is kept, for the database to judge
    "empty": ("", ""),
    "spaces": (" \r\n\t ", ""),
    "only a think block": ("<think>x</think>", ""),
    "only fences": ("``````", ""),
    "prose alone": ("I do not know.", "I do not know."),
    "prose in backticks": (" `I do not know.`\n", "I do not know."),
    "within a sentence": ("The answer is SELECT 1", "The answer is SELECT 1"),
    "no statement's word": ("SELECTED 1", "SELECTED 1"),
}


@pytest.mark.parametrize(("completion", "sql"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_extract_sql(completion, sql):
    assert extract_sql(completion) == sql


@pytest.mark.parametrize("sql", sorted({sql for _, sql in COMPLETIONS.values()}))
def test_extracting_again_changes_nothing(sql):
    assert extract_sql(sql) == sql


@pytest.mark.parametrize(
    "completion", [None, b"SELECT 1", 5, 1.5, True, [], ["SELECT 1"], {"sql": "SELECT 1"}, object()]
)
def test_what_is_no_text_holds_no_sql(completion):
    assert extract_sql(completion) == ""


def test_prompts_and_data_need_no_torch():
    code = (
        "import sys, common.prompts, common.data, common.profiles, common.settings\n"
        "common.data.load_examples('embedded', 'test', limit=2)\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert (run.stdout, run.stderr) == ("[]\n", "")
