"""Blank lines within a statement and before prose, and what the scorer makes of them."""

import json
import re

import pytest

from common.extraction import extract_sql
from common.scoring import Scorer

STATEMENTS = """
SELECT 1
SELECT * FROM t
SELECT DISTINCT Name, Age FROM Person
SELECT p.Name Who, p.Age AS Years FROM Person p
SELECT Name FROM Person WHERE Age > 3 AND City = 'Rome' OR NOT Married
SELECT Name FROM Person WHERE Age BETWEEN 1 AND 3
SELECT Name FROM Person WHERE City IN ('a', 'b') AND Id NOT IN (SELECT Id FROM Gone)
SELECT Name FROM Person WHERE City IS NULL
SELECT Name FROM Person WHERE City IS NOT NULL AND Age ISNULL
SELECT Name FROM Person WHERE Name LIKE 'The %' ESCAPE '!'
SELECT Name FROM Person WHERE Name NOT GLOB 'A*' COLLATE NOCASE
SELECT Name FROM Person WHERE EXISTS (SELECT 1 FROM Pet A WHERE A.Owner = Person.Id)
SELECT Name FROM Person ORDER BY Age DESC, Name ASC LIMIT 3 OFFSET 7
SELECT Name FROM Person ORDER BY Age DESC NULLS LAST LIMIT 5, 10
SELECT City, count(*) FROM Person GROUP BY City HAVING count(*) > 1 ORDER BY 2
SELECT City, Age, SUM(Pay) Total FROM Person GROUP BY 1, 2
SELECT A.Name FROM Person A JOIN Pet B ON A.Id = B.Owner
SELECT Name FROM Person INNER JOIN Pet USING (Id)
SELECT * FROM Person LEFT OUTER JOIN Pet ON Person.Id = Pet.Owner WHERE Pet.Owner IS NULL
SELECT * FROM Person RIGHT JOIN Pet ON Person.Id = Pet.Owner
SELECT * FROM Person FULL JOIN Pet ON Person.Id = Pet.Owner
SELECT * FROM Person NATURAL JOIN Pet
SELECT * FROM Person I CROSS JOIN Pet It, House a
SELECT Name FROM Person UNION ALL SELECT Name FROM Pet
SELECT Name FROM Person UNION SELECT Name FROM Pet ORDER BY Name
SELECT Name FROM Person INTERSECT SELECT Name FROM Pet
SELECT Name FROM Person EXCEPT SELECT Name FROM Pet LIMIT 1
SELECT CASE WHEN Age > 17 THEN 'adult' WHEN Age IS NULL THEN NULL ELSE 'child' END Kind FROM Person
SELECT CASE Age WHEN 1 THEN 2 ELSE 3 END + 1 FROM Person
SELECT SUM(CASE WHEN Age > 17 THEN 1 ELSE 0 END) * 1.0 / COUNT(*) FROM Person
SELECT a + b - c * d / e % f || 'x' Sum_ FROM t
SELECT a << 1, b >> 2, c & 3, d | 4, ~e, -f FROM t
SELECT a FROM t WHERE b <> 1 AND c != 2 AND d == 3 AND e >= 4 AND f <= 5
SELECT j -> 'a', j ->> '$.b' FROM t
SELECT CAST(Age AS TEXT), Round(AVG(Pay), 2), Coalesce(a, 'it''s') FROM Person
SELECT "Full Name", [Order Date], `Unit Price` FROM "Order Details"
SELECT 'This is it. Really: yes', "a b" FROM t WHERE c = 'I''m here; or not'
SELECT Rank() OVER (PARTITION BY City ORDER BY Age ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) Place FROM Person
SELECT First || ' ' || Last || Title FROM Person
SELECT Sum(Pay) OVER W Total FROM Person WINDOW W AS (PARTITION BY City)
SELECT count(*) FILTER (WHERE Age > 3) FROM Person
SELECT Name FROM (SELECT Name, Age FROM Person) AS Inner_ WHERE Age = (SELECT max(Age) FROM Person)
WITH Big AS (SELECT * FROM Orders WHERE Total > 2), Named AS (SELECT Name FROM Big) SELECT Name FROM Named
WITH Totals(Who, Amount) AS MATERIALIZED (SELECT Who, SUM(Amount) FROM Bill GROUP BY Who) SELECT Amount FROM Totals
WITH RECURSIVE Count_(N) AS (VALUES (1) UNION ALL SELECT N + 1 FROM Count_ WHERE N < 5) SELECT N FROM Count_
VALUES (1, 'a'), (2, 'b')
INSERT INTO Person (Name, Age) VALUES ('Ann', 3), ('Bob', 4)
INSERT OR REPLACE INTO Person SELECT * FROM Former WHERE Id = 2
INSERT INTO Person DEFAULT VALUES
INSERT INTO Person (Id, Age) VALUES (1, 2) ON CONFLICT (Id) DO UPDATE SET Age = excluded.Age WHERE Age < 3 RETURNING Id
INSERT INTO Person VALUES (1) ON CONFLICT DO NOTHING
REPLACE INTO Person (Id) VALUES (1)
UPDATE Person SET Name = 'x', Age = Age + 1 WHERE Id = 1 RETURNING *
UPDATE OR IGNORE Person AS P SET Age = Pet.Age FROM Pet WHERE Pet.Owner = P.Id
DELETE FROM Person AS P WHERE P.Id = 1
DELETE FROM Person WHERE Age < 3 RETURNING Name Gone, Age
CREATE TABLE IF NOT EXISTS Pet (Id INTEGER PRIMARY KEY, Name VARCHAR (20) NOT NULL DEFAULT 'x') STRICT
CREATE TABLE Pet (Owner INT REFERENCES Person (Id) ON DELETE CASCADE)
CREATE TABLE Pet (Owner INT, Age DOUBLE PRECISION CHECK (Age > 0), UNIQUE (Owner, Age)) WITHOUT ROWID
CREATE TEMP TABLE Copy AS SELECT * FROM Person
CREATE UNIQUE INDEX IF NOT EXISTS ByName ON Person (Name COLLATE NOCASE DESC) WHERE Age > 3
CREATE VIEW Old (Name) AS SELECT Name FROM Person WHERE Age > 60
CREATE TRIGGER Note AFTER UPDATE OF Age ON Person FOR EACH ROW BEGIN DELETE FROM Pet; UPDATE House SET a = 1; END
CREATE TRIGGER Note INSTEAD OF INSERT ON Old WHEN new.Age > 3 BEGIN SELECT 1; END
ALTER TABLE Person RENAME COLUMN Age TO Years
ALTER TABLE Person ADD COLUMN Name TEXT NOT NULL DEFAULT 'x'
ALTER TABLE Person RENAME TO People
DROP TABLE IF EXISTS Person
EXPLAIN QUERY PLAN SELECT * FROM Person INDEXED BY ByName WHERE Name = 'a'
SELECT Name /* who it is */ FROM Person WHERE Age > 3 /* grown */ AND City = 'x'
SELECT a FROM t WHERE b = ? AND c = :x AND d = @y
SELECT Name FROM Person FETCH FIRST 5 ROWS ONLY
SELECT 作者, 书名 FROM 书 WHERE 年 > 2000 ORDER BY 作者
""".strip().splitlines()
PIECE = re.compile(
    r"\s+|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|[:@]?\w+|[<>!=|-]=|<>|\|\||<<|->>?|>>|.", re.DOTALL
)
KEYWORD = re.compile(r"[A-Z]+")


def capitalised(sql: str, *, names: bool) -> str:
    """With keywords as they begin a sentence, names too if asked for; strings and quoted names as they are."""
    return "".join(
        piece.capitalize() if KEYWORD.fullmatch(piece) or names and piece[0].isalpha() else piece
        for piece in PIECE.findall(sql)
    )


def pieces(sql: str) -> list[str]:
    return [piece for piece in PIECE.findall(sql) if not piece.isspace()]


def parted(sql: str, blank: str) -> list[str]:
    """The statement with a blank line at each place between two of its tokens."""
    tokens = PIECE.findall(sql)
    return ["".join(tokens[:at]) + blank + "".join(tokens[at:]) for at in range(1, len(tokens))]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_blank_line_anywhere_in_a_statement_cuts_nothing(sql):
    assert len(pieces(sql)) > 1
    for text in {sql, sql.lower(), capitalised(sql, names=False), capitalised(sql, names=True)}:
        for blank in ("\n\n", "\n \t\r\n\n"):
            for completion in parted(text, blank):
                assert pieces(extract_sql(completion)) == pieces(text), completion
                assert extract_sql(f"```sql\n{completion}\n```") == completion
                assert extract_sql(json.dumps({"sql": completion})) == completion
        assert pieces(extract_sql("\n\n".join(pieces(text)))) == pieces(text)


COMPLETE = [
    "SELECT a FROM t WHERE b = 1",
    "SELECT count(*) FROM t",
    "SELECT Name FROM city ORDER BY Name DESC",
    "SELECT a, CASE WHEN b > 1 THEN 'x' ELSE 'y' END FROM t AS u",
    "WITH Big AS (\n\nSELECT * FROM t\n\n)\n\nSELECT a FROM Big LIMIT 3",
    "UPDATE t SET a = 'it''s' WHERE b IS NULL",
    "INSERT INTO t VALUES (1, 'x')",
    "DELETE FROM t WHERE id = 1 RETURNING *",
    "SELECT a FROM t WHERE b = 'x' -- the end (of it",
    'SELECT a FROM "my table"',
]
PROSE = [
    # As they were reported
    "I used a filter on b.",
    "Here's how it works: it filters.",
    "It's a filter.",
    "Let's see why:\n- b is 1",
    "A simple filter does it.",
    "- It filters on b.",
    "* It filters on b.",
    "1. It filters on b.",
    "---",
    "---\nThis query counts.",
    "(This query filters on b.)",
    "SQLResult: 3\nAnswer: 3",
    "SQLite has no such join.",
    "说明：此查询过滤。",
    # Labels, headings and marks
    "Explanation: it filters",
    "Explanation:\n\n1. It filters.\n\n2. It counts.",
    "Explanation\n\nThe query filters.",
    "NOTE: b is text",
    "WHERE: keeps some rows",
    "User: and now?\nAssistant: SELECT 2",
    "## Explanation",
    "**Explanation**",
    "- **b**: kept",
    "1) Filter",
    "> This query counts.",
    "***",
    "=====\nNotes",
    "| a |\n|---|\n| 1 |",
    "+---+\n| a |\n+---+",
    "(3 rows)",
    "<note>It counts",
    '{"rows": 3}',
    "\\boxed{3}",
    "// counts",
    "✅ Done",
    "ℹ️ b is text",
    "→ three of them",
    "• Filters",
    # Sentences, also such as begin like a clause
    "this query counts",
    "it filters b = 1",
    "We filter on b = 1",
    "returns 3 rows",
    "Here’s why",
    "You're welcome",
    "Thanks!",
    "Is that so?",
    "Hope it helps",
    "In this query, we filter.",
    "In SQLite, b is text.",
    "To do this, we filter on b.",
    "If b is NULL, it is left out.",
    "For each row, b is compared.",
    "No other filter is needed.",
    "All customers are counted.",
    "COUNT(*) counts all the rows",
    "The `b = 1` condition filters",
    "From the table t we take a.",
    "Where clause filters on b.",
    "And it sorts by name.",
    "As you can see, it works.",
    "Left join keeps all the rows.",
    "Limit is optional.",
    "With this query you get the rows.",
    "Select the rows of interest.",
    "Or, if you prefer:\nSELECT b FROM t",
    "Finally, it sorts",
    "-- A comment.\nThis query counts.",
    # Other languages
    "Esta consulta cuenta las filas",
    "Diese Abfrage zählt die Zeilen",
    "Эта выборка считает строки",
    "该查询返回所有行",
    "このクエリは行数を数えます",
    "이 쿼리는 행을 셉니다",
]


@pytest.mark.parametrize("paragraph", PROSE)
def test_prose_behind_a_blank_line_is_dropped(paragraph):
    for sql in COMPLETE:
        for blank in ("\n\n", "\r\n\r\n", "\n \u3000\n\n"):
            assert extract_sql(f"{sql}{blank}{paragraph}") == sql
            if paragraph != "---":  # a rule, or a comment
                assert extract_sql(f"{sql}{blank}{paragraph}{blank}SELECT 2") == sql
    # Not where the SQL is not whole, nor where a fence says what is SQL.
    for sql in ("SELECT a,", "SELECT count(", "SELECT a FROM t WHERE", "SELECT a +", "SELECT CASE WHEN a THEN 1"):
        assert extract_sql(f"{sql}\n\n{paragraph}").startswith(f"{sql}\n\n")
    if "```" not in paragraph and "</" not in paragraph:
        assert extract_sql(f"~~~\nSELECT 1\n\n{paragraph}\n~~~") == f"SELECT 1\n\n{paragraph}"


# A wrong answer must not become a right one by a cut; and what may be either is the database's to judge.
MISTAKES = (
    """
Is NULL|Offset 7|As x WHERE id = 1|Limit 5 5|Where|Wher b = 2|Were b > 2|And b = 2|Or 1 = 1|Order By nope|Order name
Oder By name|Gruop By a, b|Group By|Having count(*) > 3|x|Name|Name,|Name, City From t|O Where O.b > 3|Join u
Left Join u Using id|Right Join u On t.a = u.a|Natural Join u|Full Outer Join u Using (a)|Foo Bar|Desc|Not|Union
Union Select a From u|, b|) x|7|'x'|- 1|* 2|+ 2 Limit 1|> 2|= 3|% 2 = 0|.b|Filter (Where b)|Over ()|Collate Nocase
Glob 'a*'|Like 'The %'|Match 'x'|Escape '!'|Fetch First 5 Rows Only|Top 3|For Update|Delete From t|Select 2|Drop Table t
With x As (Select 1) Select * From x|Between 1 And 3|Nulls Last|Returning id|Limit 5, 10|Window w As (Order By a)
Else 2 End|Then 1 End|End|Big As (Select 1)|Where name = 'It''s'|Where name = "This is it"|-- The end.\nWhere b = 2
/* This is it. */ And b > 2|Is Not Null|In (1, 2)|In u|Not In (Select b From u)|Cross Join (Select b From u) So|(2, 'y')
On Conflict Do Nothing|Set Name = 'x', Age = 2 Where Id = 1|Insert Into u Values (1)|Alter Table t Add Name Text
A Join u B On A.id = B.id|It Join u On It.id = u.id|Rank() Over (Order By b)|Sum(b) Total|Null|Current_Date|?|:x
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.mark.parametrize("rest", [rest.replace("\\n", "\n") for rest in MISTAKES])
def test_what_goes_on_in_sql_is_kept_right_or_wrong(rest):
    for sql in COMPLETE:
        for text in {rest, rest.upper(), rest.lower()}:
            assert extract_sql(f"{sql}\n\n{text}") == f"{sql}\n\n{text}"


def test_a_title_is_dropped_with_the_prose_behind_it_alone():
    sql = "SELECT a FROM t"
    assert extract_sql(f"{sql}\n\nQuery explanation\n\nIt filters on b.") == sql
    assert extract_sql(f"{sql}\n\nOther Notes\n\nHow\n\nIt filters on b.") == sql
    assert extract_sql(f"{sql}\n\nNotes\n\nWHERE a = 1\n\nIt filters.") == f"{sql}\n\nNotes\n\nWHERE a = 1"
    assert extract_sql(f"{sql}\n\nNotes") == f"{sql}\n\nNotes"  # an alias


def test_prose_behind_a_semicolon_may_begin_like_a_statement():
    for prose in ("Select the right column.", "With this query you get the rows.", "Replace t with the right table."):
        assert extract_sql(f"SELECT a;\n{prose}") == extract_sql(f"```\nSELECT a; {prose}\n```") == "SELECT a;"
    for statement in ("Delete From t", "Select b From t", "WITH the AS (SELECT 1) SELECT * FROM the"):
        assert extract_sql(f"SELECT a;\n{statement}") == f"SELECT a;\n{statement}"


def test_prose_before_a_statement_may_begin_like_one():
    assert extract_sql("With this schema we can write\n\nSELECT a FROM t") == "SELECT a FROM t"
    assert extract_sql("Create a query that counts the rows.\nSELECT 1") == "SELECT 1"
    assert extract_sql("Select a\nUnion\nSelect b") == "Select a\nUnion\nSelect b"


CUTS = {
    "cut-cte": "WITH Paid AS (\n  SELECT who, sum FROM bill WHERE paid = 1\n),\n\n"
    "Totals AS (\n  SELECT who, SUM(sum) AS s FROM Paid GROUP BY who\n)\n\nSELECT s FROM Totals",
    "cut-columns": "SELECT Name,\n\nAge, City\n\nFROM t",
    "cut-order": "SELECT a FROM t\nORDER BY\n\nPrice DESC",
    "cut-where": "SELECT a FROM t WHERE\n\nAge > 3",
    "cut-set": "UPDATE t\nSET\n\nName = 'x'\nWHERE id = 1",
    "cut-join-table": "SELECT a FROM t JOIN\n\nOrders ON t.id = Orders.id",
    "cut-right-join": "SELECT * FROM t\n\nRight Join u ON t.a = u.a",
    "cut-natural-join": "SELECT * FROM t\n\nNatural Join u",
    "cut-case": "SELECT CASE WHEN a THEN 1\n\nElse 2 END FROM t",
    "cut-delete": "DELETE FROM t\n\nAs x WHERE id = 1",
}


@pytest.mark.parametrize("sql", CUTS.values(), ids=CUTS)
def test_a_statement_is_kept_whole(sql):
    assert extract_sql(sql) == sql


def test_verdicts_at_blank_lines():
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v REAL);"
    schema += "INSERT INTO t VALUES (1, 'a', 1.5), (2, 'b', 2.5), (3, 'c', 3.5);"
    reference = "SELECT name FROM t WHERE v > 2"
    whole = {
        "WITH Big AS (\n  SELECT * FROM t WHERE v > 2\n),\n\nNamed AS (\n  SELECT name FROM Big\n)\n\n"
        "SELECT name FROM Named;",
        "```sql\nWITH a AS (SELECT * FROM t),\n\nBig AS (SELECT * FROM a WHERE v > 2)\n\nSELECT name FROM Big\n```",
        "```sql\nSELECT\n\nName FROM t\n\nWhere v > 2\n```",
        f"{reference}\n\nI used a filter.",
        json.dumps({"sql": reference}),
    }
    mistakes = [
        f"{reference}\n\n{rest}" for rest in ("Is NULL", "Offset 7", "Limit 1", "And id = 3", "Union Select 'x'")
    ]
    mistakes += ['{"sql": "SELECT \'\\ud800\'"}']  # half a character
    rows = [{"schema": schema, "reference": reference, "prediction": text} for text in [*whole, *mistakes]]
    with Scorer(workers=1) as scorer:
        matches = [verdict.match for verdict in scorer.score_batch(rows)]
    assert matches == [True] * len(whole) + [False] * len(mistakes)
