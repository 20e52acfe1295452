"""Answers in JSON and in tags; hostile texts, which cost linear time and raise nothing."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.extraction import extract_sql
from tests.cost import cost

Q = "SELECT a FROM t WHERE b = 1"
FORMS = {
    # JSON
    "sql": f'{{"sql": "{Q}"}}',
    "capitals": f'{{"SQL": "{Q}"}}',
    "query, in a fence": f'```json\n{{"query": "{Q}"}}\n```',
    "fence without label": f'```\n{{"SQL Query": "{Q}"}}\n```',
    "fence within prose": f'Sure!\n```json\n{{"explanation": "It\'s \\"b\\"", "sql_query": "{Q}"}}\n```\nIt counts.',
    "question beside it": f'{{"query": "How many?", "answer": "{Q}"}}',
    "a fence in JSON": f'{{"sql": "```sql\\n{Q}\\n```"}}',
    "prose in JSON": f'{{"answer": "The query is: {Q}"}}',
    "an object in JSON": f'{{"name": "run", "arguments": {{"sql": "{Q}"}}}}',
    "end token behind JSON": f'{{"sql": "{Q}"}}<|im_end|>',
    # Tags
    "reasoning and answer": f"<reasoning>SELECT b</reasoning><answer>{Q}</answer>",
    "on lines": f"<reasoning>\nSo it is\n\nSELECT b\n</reasoning>\n\n<answer>\n{Q}\n</answer>\n",
    "capitals in tags": f"<Reasoning>SELECT b</Reasoning>\n<Answer>{Q}</Answer>",
    "thought": f"<thought>SELECT b</thought>{Q}",
    "thinking": f"<thinking>\nSELECT b\n</thinking>\n\n{Q}",
    "scratchpad and sql": f"<scratchpad>SELECT b</scratchpad>\n<sql>{Q}</sql>",
    "reasoning, opened by the prompt": f"SELECT b it may be.</reasoning>\n{Q}",
    "reasoning, not closed": f"<reasoning>SELECT b\n<answer>{Q}</answer>",
    "reasoning that names the tag": f"<reasoning>SELECT b in <answer> tags</reasoning><answer>{Q}</answer>",
    "reasoning without tags": f"SELECT b comes to mind.\n<answer>{Q}</answer>",
    "answer without SQL": f"<answer>3</answer>\n<sql>{Q}</sql>",
    "fence in an answer": f"<answer>\n```sql\n{Q}\n```\n</answer>",
    "JSON in an answer": f'<answer>{{"sql": "{Q}"}}</answer>',
    "prose in an answer": f"<answer>The query is:\n{Q}\n\nIt counts.</answer>",
    "explanation behind": f"<sql>{Q}</sql>\n<explanation>SELECT b would be wrong</explanation>",
    "think and answer": f"<think>SELECT b</think>\n<answer>{Q}</answer>",
    "tool call": f'<tool_call>\n{{"name": "run", "arguments": {{"query": "{Q}"}}}}\n</tool_call>',
}


@pytest.mark.parametrize("completion", FORMS.values(), ids=FORMS)
def test_an_answer_in_json_or_in_tags(completion):
    assert extract_sql(completion) == Q


def test_a_blank_line_in_json_is_kept():
    assert extract_sql('{"sql": "SELECT a\\n\\nThe FROM t"}') == "SELECT a\n\nThe FROM t"
    assert extract_sql('{"sql": "SELECT a\n\nThe FROM t"}') == "SELECT a\n\nThe FROM t"  # as models write it


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"sql": 3}', '{"sql": ""}', '{"sql": "none"}', '{"error": "SELECT 1"}', '{"sql": "SELECT 1', "[{}]"]
    + [f'{{"sql": "{Q}"}} is it', '{"a":' * 5000, '{"sql": ' + "9" * 5000 + "}"]
    + [f"SELECT a FROM t WHERE tags LIKE '%<{tag}>%' AND b = 1" for tag in ("sql", "plan", "code", "reasoning")]
    + [f"SELECT a FROM t WHERE b = '<{tag}>SELECT 1</{tag}>'" for tag in ("answer", "code", "thought")]
    + ["SELECT a FROM t WHERE b LIKE '%</analysis>%'", 'SELECT \'{"sql": "SELECT 1"}\''],
)
def test_what_only_looks_like_json_or_a_tag_is_kept(text):
    assert extract_sql(text) == text


MEGABYTE = 2**20
PIECES = (
    ["<|a|>", "</a>", "'```", "'<think>", "Select:\n", "*SELECT ", ">SELECT ", "\n\n**", "\ufeff", ":\n"]
    + ["`", "```", "~~~", "``` ", "```sql\n", "```SELECT ", "` `", "a `b", "`a` ", "(`"]
    + ["<think>", "</think>", "<think></think>", "\n", " ", "\n\n", "\n \n", "\r\n\r\n", "\n\nAaaa", "Aa"]
    + ["'", '"', "'a' ", "--", "-- \n", "/*", "/**/", ";", "; ", ";/*", ";--x\n", ";END ", ";END;", "END "]
    + [
        "<plan>",
        "</plan>",
        " <plan></plan>",
        "<answer>",
        "<sql>x: SELECT</sql>",
        "<sql>{",
        '{"sql": "',
        '{"a":',
        '{"":1},',
    ]
    + ["\n\nx", "\n\n(", "\n\nThis (", "\n\n- b", "\n\n--x\n", "'a'\n\n", "(\n\n", "case ", ";\n\nSELECT x "]
    + [": ", ":\t", "SELECT ", "\nSELECT", ":SELECT", "x", "\\", "\x00"]
)


MOST = 14  # units of cost, a second where this was written


@pytest.mark.parametrize(
    "before", ["", "SELECT 1 ", "x\n`SELECT "], ids=["alone", "behind a statement", "in inline code"]
)
def test_time_is_linear_in_a_hostile_text(before):
    for piece in PIECES:
        # A megabyte of each would take too long; 32 KiB are enough to see a square, 2^30 steps.
        text = before + piece * (MEGABYTE // 32 // len(piece))
        for hostile in (text, text + "!"):
            assert cost(partial(extract_sql, hostile), below=MOST) < MOST, piece


@pytest.mark.parametrize("piece", ["`", "\n", "'", "a `b", ";/*", "\n\nAaaa", "```sql\n", "<answer>", ";With x "])
def test_a_megabyte_takes_no_more_than_a_few_million_steps(piece):
    text = "SELECT 1" + piece * (MEGABYTE // len(piece))
    assert cost(partial(extract_sql, text), below=MOST) < MOST


def test_json_takes_linear_time():
    members = ",".join(f'"a{number}": {{"sql": {number}}}' for number in range(MEGABYTE // 32))
    for text in (f'{{{members}, "sql": "{Q}"}}', f'{{"sql": "{Q}", "sql": "' + '\\"' * (MEGABYTE // 4) + '"}'):
        for fence in ("", "```"):
            assert cost(partial(extract_sql, f"{fence}{text}{fence}"), below=MOST) < MOST


@settings(deadline=None, max_examples=60)  # a busy machine is no fault
@given(st.text() | st.lists(st.sampled_from([*PIECES, Q, "prose "])).map("".join))
def test_extract_sql_never_raises_and_adds_nothing(text):
    sql = extract_sql(text)
    assert isinstance(sql, str) and sql == sql.strip()
    # What is left is a part of the text, but for blocks cut out of its middle.
    assert "<think>" in text.lower() or "<plan>" in text.lower() or sql in text


@given(
    st.none() | st.binary() | st.integers() | st.floats() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
)
def test_extract_sql_never_raises_for_other_things(thing):
    assert extract_sql(thing) == ""


@pytest.mark.parametrize(
    "completion", ["查询：SELECT a FROM t", "SELECT a FROM t<end_of_turn>", "SELECT a FROM t<｜end▁of▁sentence｜>"]
)
def test_a_wide_colon_and_end_marks_of_other_models(completion):
    assert extract_sql(completion) == "SELECT a FROM t"


NAMES = [  # words of a sentence as names; cut off, each would leave a statement that runs and answers otherwise
    *("This WHERE This.v > 1", "As This\n\nJoin u On u.id = This.id", "Where Here = 2", "And This = 3"),
    *("Join This On This.id = t.id", "Where This > 5", "Order By This", "Union Select This From u", "Where Not This"),
    *("Inner Join Here Using (id)", "Except Select Our From u", "Set This = 1, Here = 2", "Left Join The On 1 = 1"),
    *("Group By This", "Where a = This", "Where This Between 1 And 2"),
]


@pytest.mark.parametrize("rest", NAMES)
def test_words_of_a_sentence_may_be_names(rest):
    assert extract_sql(f"SELECT a FROM t\n\n{rest}") == f"SELECT a FROM t\n\n{rest}"
