"""The floor without a model: schemas and questions as text, the nearest question, and its SQL made to fit another."""

import random
import sqlite3
import subprocess
import sys
import time

import pytest

from common.data import Example, load_examples
from common.retrieval import CANDIDATES, Index, answers, fill
from common.retrieval.questions import NAME, NOUN, NUMBER, VALUE, read_question, shared_words
from common.retrieval.schemas import read_schema, stem, stems
from common.settings import ROOT, UserError

SHOPS = (
    "CREATE TABLE shops (id INT, name TEXT, city TEXT, staff INT); INSERT INTO shops VALUES (1, 'Kiosk', 'Oslo', 4);"
)
SHARED = frozenset({"what", "is", "the", "of", "in", "with", "show", "a", "all", "by", "called"})


def row(number: int, question: str, sql: str, schema: str = SHOPS) -> Example:
    return Example(id=f"row-{number}", question=question, schema=schema, sql=sql)


def filled(question: str, sql: str, schema: str, target: str, target_schema: str, shared: frozenset = SHARED) -> str:
    return fill(read_question(question, schema, shared), sql, read_question(target, target_schema, shared)).sql


# Schemas


def test_a_schema_is_read_with_its_kinds_keys_references_and_values():
    tables = read_schema(
        "CREATE TABLE IF NOT EXISTS \"my shops\" (shop_id INTEGER PRIMARY KEY, [full name] VARCHAR(20) DEFAULT 'a, (b)'"
        ", opened DATE, price DECIMAL(8, 2), CHECK (price > 0)); -- a comment; with a semicolon\n"
        'CREATE TABLE sales (id INT, shop INT REFERENCES "my shops"(shop_id), buyer_id INT, '
        "FOREIGN KEY (buyer_id) REFERENCES buyers (id)); CREATE TABLE buyers (id INT, name TEXT);"
        "INSERT INTO buyers (name, id) VALUES ('O''Hara', 1), (NULL, 2);"
    )
    assert [table.name for table in tables] == ["my shops", "sales", "buyers"]
    assert [(c.name, c.kind, c.is_key) for c in tables[0].columns] == [
        ("shop_id", "number", True),
        ("full name", "text", False),
        ("opened", "date", False),
        ("price", "number", False),
    ]
    assert {c.name: c.target for c in tables[1].columns} == {"id": "", "shop": "my shops", "buyer_id": "buyers"}
    assert {c.name: c.values for c in tables[2].columns} == {"id": ["1", "2"], "name": ["O'Hara"]}


def test_a_reference_that_is_not_declared_goes_by_its_name():
    tables = read_schema("CREATE TABLE groups_booked (id INT); CREATE TABLE tours (group_id INT, tour_id INT);")
    assert [(c.name, c.target, c.is_key) for c in tables[1].columns] == [
        ("group_id", "groups_booked", False),
        ("tour_id", "", True),
    ]


@pytest.mark.parametrize("words", ["shops shop", "cities city", "boxes box", "warehouses warehouse", "movies movie"])
def test_both_numbers_of_a_noun_have_one_stem(words):
    one, other = words.split()
    assert stem(one) == stem(other)


def test_names_are_split_into_words():
    assert stems("star_ratings") == stems("StarRating") == ("star", "rating")


# Questions


def test_a_question_is_masked():
    question = read_question(
        "What is the staff size of the shop called Kiosk in 'New York' with 3 by my_view?", SHOPS, SHARED
    )
    assert question.mask == [
        *("what", "is", "the", NOUN, "of", "the", NOUN, "called", VALUE, "in", VALUE, "with", NUMBER, "by", NAME)
    ]
    phrases = [(phrase.text, [c.name for _, c in phrase.columns]) for phrase in question.phrases]
    assert phrases == [
        ("staff size", ["staff"]),
        ("shop", []),
        ("Kiosk", ["name"]),
        ("New York", []),
        ("3", []),
        ("my_view", []),
    ]
    assert [table.name for table in question.phrases[1].tables] == ["shops"]


def test_the_first_word_of_a_sentence_is_no_value_and_a_shared_one_no_name():
    question = read_question("Name the shops. Show Zorn.", SHOPS, SHARED | {"name"})
    assert question.mask == ["name", "the", NOUN, "show", VALUE]


def test_shared_words_are_those_over_several_schemas():
    rows = [row(n, f"Count the {noun}", "", f"CREATE TABLE {noun} (id INT)") for n, noun in enumerate("abcc")]
    assert shared_words(rows) == {"count", "the"}


# Filling

BOATS = (
    "CREATE TABLE boats (id INT, title TEXT, port TEXT, crew INT, built INT); "
    "INSERT INTO boats VALUES (1, 'Star', 'Bergen', 9, 1990), (2, 'O''Neill', 'Oslo', 3, 1980);"
)
PAIR = "CREATE TABLE makers (id INT, name TEXT); CREATE TABLE cars (maker_id INT, price INT);"
OTHER_PAIR = "CREATE TABLE visits (patient_id INT, cost INT); CREATE TABLE patients (id INT, name TEXT);"
FILLINGS = {
    "a noun by its name": (
        ("What is the staff of Kiosk?", "SELECT staff FROM shops WHERE name = 'Kiosk';", SHOPS),
        ("What is the crew of Star?", BOATS),
        "SELECT crew FROM boats WHERE title = 'Star';",
    ),
    "a value names its column, and a quote in it is doubled": (
        ("Show the shops in Oslo", "SELECT name FROM shops WHERE city = 'Oslo'", SHOPS),
        ("Show the boats of O'Neill", BOATS),
        "SELECT title FROM boats WHERE title = 'O''Neill'",
    ),
    "numbers in order, one that the question has not stays": (
        ("Show the 2 shops with staff 5", "SELECT name FROM shops WHERE staff > 5 AND 1 = 1 LIMIT 2", SHOPS),
        ("Show the 7 boats with crew 8", BOATS),
        "SELECT title FROM boats WHERE crew > 8 AND 1 = 1 LIMIT 7",
    ),
    "two nouns in the order of mention": (
        ("Show staff and city of all shops", "SELECT staff, city FROM shops", SHOPS),
        ("Show built and port of all boats", BOATS),
        "SELECT built, port FROM boats",
    ),
    "tables by their references, aliases kept": (
        (
            "What is the price by maker?",
            "SELECT m.name, SUM(c.price) FROM makers AS m JOIN cars c ON c.maker_id = m.id GROUP BY m.name",
            PAIR,
        ),
        ("What is the cost by patient?", OTHER_PAIR),
        "SELECT m.name, SUM(c.cost) FROM patients AS m JOIN visits c ON c.patient_id = m.id GROUP BY m.name",
    ),
    "a pattern keeps its marks": (
        ("Show all shops with 'Ki'", "SELECT name FROM shops WHERE name LIKE '%Ki%'", SHOPS),
        ("Show all boats with 'St'", BOATS),
        "SELECT title FROM boats WHERE title LIKE '%St%'",
    ),
    "a name that the question gives": (
        ("a view called old_shops of all shops", "CREATE VIEW old_shops AS SELECT name FROM shops", SHOPS),
        ("a view called new_boats of all boats", BOATS),
        "CREATE VIEW new_boats AS SELECT title FROM boats",
    ),
}


@pytest.mark.parametrize(("neighbour", "target", "expected"), FILLINGS.values(), ids=FILLINGS)
def test_filling(neighbour, target, expected):
    assert filled(*neighbour, *target) == expected


def test_a_filling_says_whether_it_is_whole():
    source, target = read_question("Show the staff", SHOPS, SHARED), read_question("Show the crew", BOATS, SHARED)
    assert fill(source, "SELECT staff FROM shops", target).is_complete
    assert not fill(source, "SELECT staff FROM shops WHERE name = 'Kiosk'", target).is_complete, "whose value is that?"
    wants = read_question("Show the crew with 9", BOATS, SHARED)
    assert not fill(source, "SELECT staff FROM shops", wants).is_complete, "nothing is done with the 9"
    two = "SELECT name FROM makers JOIN cars ON cars.maker_id = makers.id"
    lacking = fill(read_question("Show the makers", PAIR, SHARED), two, target)
    assert (lacking.sql, lacking.is_complete) == (two, False), "one table for two"


# Neighbours

TRAIN = [
    row(0, "How many shops are in Oslo?", "SELECT COUNT(*) FROM shops WHERE city = 'Oslo';"),
    row(1, "Show the name of each shop", "SELECT name FROM shops;"),
    row(2, "How many cars are there?", "SELECT COUNT(*) FROM cars;", PAIR),
    row(3, "How many cars are there?", "SELECT 1;", PAIR),
    row(4, "How many of the visits are there?", "SELECT COUNT(*) FROM visits;", OTHER_PAIR),
]


def test_the_nearest_question_is_the_one_that_asks_alike():
    index = Index(TRAIN)
    example = row(9, "How many boats are in Bergen?", "", BOATS)
    assert index.nearest(example, 2)[0] is TRAIN[0]
    assert [each.id for each in index.nearest(row(9, "How many cars are there?", "", PAIR), 2)] == ["row-2", "row-3"]
    assert answers(TRAIN, [example]) == ["SELECT COUNT(*) FROM boats WHERE port = 'Bergen';"]


def test_what_is_like_nothing_gets_the_first_row_filled():
    assert answers(TRAIN[1:2], [row(9, "?!", "", BOATS)]) == ["SELECT title FROM boats;"]
    with pytest.raises(UserError, match="retrieval needs training rows"):
        answers([], [])


def test_the_next_neighbour_is_taken_where_the_nearest_cannot_be_filled():
    pair = row(5, "List all of the big things", "SELECT name FROM makers JOIN cars ON maker_id = id", PAIR)
    train = [pair, row(6, "List all of the things", "SELECT staff FROM shops")]
    example = row(9, "List all of the big things", "", BOATS)
    assert Index(train).nearest(example, 1) == [pair]
    assert answers(train, [example]) == ["SELECT crew FROM boats"]
    assert CANDIDATES > 1


# As a whole


def test_it_is_fast_deterministic_and_better_than_nothing():
    train, test = (load_examples("embedded", split, limit=n) for split, n in (("train", 384), ("validation", 200)))
    start = time.process_time()
    texts = answers(train, test)
    assert time.process_time() - start < 10
    code = (
        "import json; from common.data import load_examples; from common.retrieval import answers\n"
        "rows = [load_examples('embedded', s, limit=n) for s, n in (('train', 384), ('validation', 200))]\n"
        "print(json.dumps(answers(*rows)))\n"
        "import sys; assert not {'torch', 'transformers', 'sqlglot'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert process.stdout == f"{__import__('json').dumps(texts)}\n"
    runs = 0
    for example, text in zip(test, texts, strict=True):
        connection = sqlite3.connect(":memory:")
        try:
            connection.executescript(example.schema)
            connection.execute(text)
            runs += 1
        except sqlite3.Error:
            pass
        finally:
            connection.close()
    assert runs / len(test) > 0.9


def test_nothing_that_is_read_makes_it_raise():
    rng = random.Random(0)
    pieces = ["CREATE TABLE", "(", ")", ",", ";", "t", "a INT", "'x", "'y'", '"', "[", "REFERENCES", "INSERT INTO t"]
    pieces += ["VALUES", "FOREIGN KEY", "PRIMARY KEY", ".", "SELECT a FROM t", "1.5", "%", "é", "\u2028", "AS"]
    texts = [" ".join(rng.choices(pieces, k=rng.randrange(12))) for _ in range(400)]
    train = [row(n, *rng.sample(texts, 2), schema=rng.choice(texts)) for n in range(60)]
    examples = [row(n, rng.choice(texts), "", schema=rng.choice(texts)) for n in range(200)]
    assert len(answers(train, examples)) == 200
