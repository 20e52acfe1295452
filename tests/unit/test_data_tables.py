"""Files of one's own as tables: what is read as it is, and the one line, with its row, for what is no row of text."""

import base64
import csv
import json

import pytest

from common.data import Example, load_file
from tests.unit.files import CELLS, HEAD, READ, ROW, file, lines, refused

# CSV


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # A comma in every query, in every question, in one of several.
        (
            "How many?,CREATE TABLE t (a INT);,SELECT a, b FROM t\n"
            "And now?,CREATE TABLE u (a INT);,SELECT c, d FROM u\n",
            "has 4 cells in row 1 (line 2), but 3 in its header; quote a cell that holds a comma, and write every cell",
        ),
        (
            "Well, how many?,CREATE TABLE t (a INT);,SELECT 1\nSo, now?,CREATE TABLE u (a INT);,SELECT 2\n",
            "has 4 cells in row 1 (line 2), but 3",
        ),
        (CELLS + CELLS + "q,s,SELECT a, b FROM t\n" + CELLS, "has 4 cells in row 3 (line 4), but 3"),
        ("q,s,SELECT a, b, c FROM t\n" * 3, "has 5 cells in row 1 (line 2), but 3"),
        ("q,s,SELECT 1,\n" * 2, "has 4 cells in row 1 (line 2), but 3"),
        ("q,s,SELECT 1,,\n" * 2, "has 5 cells in row 1 (line 2), but 3"),
        ("1,q,s,SELECT 1\n2,q,s,SELECT 2\n", "has 4 cells in row 1 (line 2), but 3"),  # row numbers without a name
        (CELLS + "q,s\n", "has 2 cells in row 2 (line 3), but 3"),
        (CELLS + "q\n", "has 1 cells in row 2 (line 3), but 3"),
        # Lines are those of the file, whatever a cell holds.
        ('"a\nb\r\nc",s,SELECT 1\n\nq,s,SELECT a, b\n', "has 4 cells in row 2 (line 6), but 3"),
        ('q, "s, t",SELECT 1\n', "has 4 cells in row 1 (line 2), but 3"),
        # Quotes.
        (CELLS + '"q,s,SELECT 1\n' + CELLS * 2, "is no readable .csv file: the quotes in row 2 (line 3) do not fit"),
        ('q,"s,SELECT 1\n', "is no readable .csv file: the quotes in row 1 (line 2) do not fit"),
        ('q,"s"t,SELECT 1\n', "is no readable .csv file: the quotes in row 1 (line 2) do not fit"),
        ('q,s,"SELECT \\"a\\" FROM t"\n', "is no readable .csv file: the quotes in row 1 (line 2) do not fit"),
        # Cells.
        (CELLS + ",,\n", "has an empty sql_prompt in row 2; fill or drop it"),
        (CELLS + "q,s, \t\n", "has an empty sql in row 2; fill or drop it"),
        ("", "has no rows"),
        ("\n  \n\n", "has no rows"),
    ],
)
def test_a_csv_row_that_does_not_fit_the_header_is_named(tmp_path, text, message):
    refused(file(tmp_path, ".csv", HEAD + text), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id," + HEAD + "1,Well, how many?,s,SELECT 1\n", "has 5 cells in row 1 (line 2), but 4"),
        (HEAD.strip() + ",domain\nq,s,SELECT 1\n", "has 3 cells in row 1 (line 2), but 4"),
        (HEAD.strip() + ",\nq,s,SELECT 1\n", "has 3 cells in row 1 (line 2), but 4"),
        (HEAD.strip() + ",sql\nq,s,SELECT 1,SELECT 2\n", "has the column sql twice; name each column once"),
        ("id,id," + HEAD + "1,1,q,s,x\n", "has the column id twice; name each column once"),
        (
            "sql_prompt;sql_context;sql\nq;CREATE TABLE t (a);;SELECT 1\n",
            "has 4 cells in row 1 (line 2), but 3 in its header; quote a cell that holds a semicolon",
        ),
        ("sql_prompt;sql\nq;x\n", "lacks the column sql_prompt, sql_context, sql; it needs sql_prompt, sql_context, "),
        (
            CELLS * 2,
            "lacks the column sql_prompt, sql_context, sql; it needs sql_prompt, sql_context, sql, and has How",
        ),
        ('"sql_prompt,sql_context,sql\n' + CELLS, "is no readable .csv file: the quotes in the header (line 1) do not"),
        (HEAD.encode() + b"Gr\xf6\xdfe,s,x\n", "is no readable .csv file: line 2 is not UTF-8; save it as UTF-8 text"),
        (HEAD.encode() + CELLS.encode() + b"q\0,s,x\n", "is no readable .csv file: line 3 has a NUL byte, as UTF-16"),
        ((HEAD + CELLS).encode("utf-16"), "is no readable .csv file: it is UTF-16 or UTF-32; save it as UTF-8 text"),
        ((HEAD + CELLS).encode("utf-32"), "is no readable .csv file: it is UTF-16 or UTF-32; save it as UTF-8 text"),
        ((HEAD + CELLS).encode("utf-16-le"), "is no readable .csv file: line 1 has a NUL byte, as UTF-16 and binary"),
        ("", "has no rows"),
        ("\ufeff", "has no rows"),
        (HEAD.strip(), "has no rows"),
    ],
)
def test_a_csv_file_of_another_form_is_one_line(tmp_path, text, message):
    refused(file(tmp_path, ".csv", text), message)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + CELLS,
        "\ufeff" + HEAD + CELLS,
        '\ufeff"sql_prompt","sql_context","sql"\n' + CELLS,
        (HEAD + CELLS).replace("\n", "\r\n"),
        (HEAD + CELLS).replace("\n", "\r"),
        (HEAD + CELLS).strip(),
        "\n" + HEAD + "\n  \n" + CELLS + "\n\n",
        "sql_prompt, sql_context , sql\n" + CELLS,
        f'sql_prompt;sql_context;sql\nHow many?;"{ROW["sql_context"]}";{ROW["sql"]}\n',
        (HEAD + CELLS).replace(",", "\t"),
        (HEAD + CELLS).replace(",", "|"),
        HEAD.strip() + ",\n" + CELLS.strip() + ",\n",
        "," + HEAD + "0," + CELLS,
        HEAD.strip() + ",note,note\n" + CELLS.strip() + ",1,2\n",
    ],
)
def test_a_csv_file_is_read_whatever_wrote_it(tmp_path, text):
    assert load_file(file(tmp_path, ".csv", text)) == [READ]


def test_quoted_cells_hold_what_else_ends_a_cell(tmp_path):
    text = HEAD + '"Well,\nhow ""many""\r\n?","CREATE TABLE t (a, b);","SELECT ""a"", b"\nq "x",s,SELECT \'"\'\n'
    first, second = load_file(file(tmp_path, ".csv", text))
    assert first == Example("rows-00000", 'Well,\nhow "many"\r\n?', "CREATE TABLE t (a, b);", 'SELECT "a", b')
    assert second == Example("rows-00001", 'q "x"', "s", "SELECT '\"'")


def test_a_cell_may_be_longer_than_pythons_reader_allows(tmp_path):
    limit, schema = csv.field_size_limit(), "-- " + "x" * 200_000
    assert load_file(file(tmp_path, ".csv", HEAD + f"q,{schema},SELECT 1\n"))[0].schema == schema
    assert csv.field_size_limit() == limit  # it is the whole process's


# JSON


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(
    "text",
    [
        lines(ROW),
        lines(ROW).strip(),
        "\n" + lines(ROW) + "\n  \n",
        lines(ROW).replace("\n", "\r\n"),
        base64.b64decode(
            "77u/eyJzcWxfcHJvbXB0IjogIkhvdyBtYW55PyIsICJzcWxfY29udGV4dCI6ICJDUkVBVEUgVEFCTEUgdCAoYSBJTlQpOyIsICJzcWwi"
            "OiAiU0VMRUNUIENPVU5UKCopIEZST00gdCJ9Cg=="
        ),
        json.dumps([ROW]),
        json.dumps([ROW], indent=1),
        "\ufeff \n" + json.dumps([ROW], indent=1) + "\n",
        json.dumps(ROW, indent=2),
        json.dumps(ROW | {"domain": None, "sql_explanation": ["of any", {"kind": 1}]}),
        json.dumps(ROW)[:-1] + ', "domain": NaN}',
    ],
)
def test_json_is_read_as_lines_as_an_array_and_with_a_byte_order_mark(tmp_path, suffix, text):
    assert load_file(file(tmp_path, suffix, text)) == [READ]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("text", [json.dumps([ROW, ROW], indent=1), json.dumps([ROW, ROW]), lines(ROW, ROW)])
def test_an_array_has_as_many_rows_as_objects(tmp_path, suffix, text):
    ids = [row.id for row in load_file(file(tmp_path, suffix, text))]
    assert ids == ["rows-00000", "rows-00001"]


def test_a_line_may_hold_any_character_that_ends_one_elsewhere(tmp_path):
    question = "a\u2028b\x85c\x0cd"
    text = json.dumps(ROW | {"sql_prompt": question}, ensure_ascii=False) + "\n"
    assert load_file(file(tmp_path, ".jsonl", text.replace("\\f", "\\u000c")))[0].question == question


UNREADABLE = "is no readable {suffix} file: "


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines(ROW).encode("utf-16"), UNREADABLE + "it is UTF-16 or UTF-32; save it as UTF-8 text"),
        (lines(ROW).encode("utf-16-be"), UNREADABLE + "line 1 has a NUL byte"),
        (lines(ROW).encode() + b'{"sql": "\xe9"}\n', UNREADABLE + "line 2 is not UTF-8; save it as UTF-8 text"),
        (lines(ROW, ROW)[:-10], UNREADABLE + "line 2 is no JSON (Unterminated string starting at); write one object"),
        (lines(ROW).replace("\n", ",\n") * 2, UNREADABLE + "line 1 is no JSON (Extra data); write one object a line"),
        (json.dumps(ROW) * 2, UNREADABLE + "line 1 is no JSON (Extra data)"),
        (json.dumps([ROW])[:-3], UNREADABLE + "line 1 is no JSON"),
        (json.dumps([ROW], indent=1)[:-3], UNREADABLE + "line "),
        (str(ROW), UNREADABLE + "line 1 is no JSON (Expecting property name"),
        (HEAD + CELLS, UNREADABLE + "line 1 is no JSON (Expecting value); write one object a line, or one array"),
        ("[" * 100_000, UNREADABLE + "it is no JSON that can be read (RecursionError)"),
        (lines(ROW) + '{"sql": ' + "[" * 100_000, UNREADABLE + "line 2 is no JSON that can be read (RecursionError)"),
        (lines(ROW | {"id": 1}).replace("1}", "1" * 5000 + "}"), UNREADABLE + "line 1 is no JSON that can be read"),
        (lines(ROW, ["a"]), "has a list as row 2; write an object with sql_prompt, sql_context, sql"),
        (lines(ROW, None, ROW), "has null as row 2"),
        (lines(ROW, 5), "has a number as row 2"),
        (json.dumps([ROW, "x"]), "has text as row 2"),
        (json.dumps([list(ROW.values())]), "has a list as row 1"),
        (
            json.dumps({"data": [ROW, ROW]}),
            "is one object with data; give an array of rows, or an object with sql_prompt",
        ),
        (
            json.dumps({"version": 1, "data": [ROW]}, indent=1),
            "is one object with version, data; give an array of rows",
        ),
        ("{}", "is one object with nothing; give an array of rows"),
        (json.dumps({name: [cell] for name, cell in ROW.items()}), "has a list as sql_prompt in row 1"),
        (json.dumps({name: {"0": cell} for name, cell in ROW.items()}), "has an object as sql_prompt in row 1"),
        ('{"sql_prompt": "q", "sql_context": "s", "sql": "a", "sql": "b"}', "has sql twice in row 1; name each column"),
        (
            lines(ROW, {"sql_prompt": "q", "sql_context": "s", "query": "x"}),
            "has an empty sql in row 2; fill or drop it",
        ),
        (
            lines({"question": "q"}, {"query": "x"}),
            "lacks the column sql_prompt, sql_context, sql; it needs sql_prompt",
        ),
        (lines(ROW | {"id": "a"}, ROW), "has an empty id in row 2; fill or drop it"),
        (lines(ROW | {"id": 7}, ROW, ROW | {"id": "7"}), "has an empty id in row 2"),
        (
            lines(ROW | {"id": 7}, ROW | {"id": "8"}, ROW | {"id": "7"}),
            "repeats an id; make the ids unique, or leave the",
        ),
        ("[]", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_json_of_another_form_is_one_line(tmp_path, suffix, text, message):
    refused(file(tmp_path, suffix, text), message.format(suffix=suffix))


def test_a_repeated_id_is_told_with_its_rows(tmp_path):
    path = file(tmp_path, ".jsonl", lines(ROW | {"id": 7}, ROW | {"id": "007"}, ROW | {"id": "7"}))
    refused(path, "repeats an id; make the ids unique, or leave the column out: rows 1 and 3 are both '7'")
    path = file(tmp_path, ".jsonl", lines(ROW | {"id": 7}, ROW | {"id": "007"}))
    assert [row.id for row in load_file(path)] == ["7", "007"]


def test_a_suffix_may_be_in_capitals(tmp_path):
    assert load_file(file(tmp_path, ".CSV", HEAD + CELLS)) == [READ]
    assert load_file(file(tmp_path, ".JSON", json.dumps([ROW]))) == [READ]
