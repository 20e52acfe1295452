"""Spider in the layout that its authors publish, of databases made here; what is asked of both layouts lies beside."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.data import Example, load_examples, revision
from common.data.ddl import schema_text
from common.scoring import Scorer
from common.settings import UserError
from tests.unit.files import halve

SINGER = """CREATE TABLE "singer" (
\t"Singer_ID" int,   -- the key
\t`Name` text  ,
\t"Net Worth" real,
\t"order" int,
\tPRIMARY KEY ("Singer_ID")
)"""
SONG = 'CREATE TABLE [song] (id INT, singer INT,\n FOREIGN KEY ( "singer" ) REFERENCES "singer"("Singer_ID"))'
SINGER_LINE = 'CREATE TABLE singer (Singer_ID int, Name text, "Net Worth" real, "order" int, PRIMARY KEY (Singer_ID));'
SONG_LINE = "CREATE TABLE song (id INT, singer INT, FOREIGN KEY (singer) REFERENCES singer(Singer_ID));"
# File → (database, question, query) of its rows.
ROWS = {
    "dev.json": [("music", "How many?", "SELECT count(*) FROM singer"), ("music", "Größe?", "SELECT 1")],
    "train_spider.json": [(f"db_{4 + n % 4}", f"Question {n}", f"SELECT {n}") for n in range(16)],
    "train_others.json": [("geo", "Which?", "SELECT 'other'")],
    "tables.json": [],
}


def database(path: Path, *statements: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "spider"
    folder.mkdir()
    for name, rows in ROWS.items():
        values = [
            {"db_id": db, "question": question, "query": query, "query_toks": query.split(), "sql": {"from": {}}}
            for db, question, query in rows
        ]
        (folder / name).write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")
    file = database(folder / "x.sqlite", SINGER, SONG, "CREATE INDEX i ON song (id)")
    database(file, "INSERT INTO singer VALUES (1, 'Größe', 2.5, 3)")
    for name in {db for rows in ROWS.values() for db, _, _ in rows}:
        (folder / "database" / name).mkdir(parents=True)
        shutil.copy(file, folder / "database" / name / f"{name}.sqlite")
        (folder / "database" / name / "schema.sql").write_text("CREATE TABLE something_else (a);")
    file.unlink()
    return folder


@pytest.fixture
def published(template, tmp_path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "my spider?#"))


def test_the_published_files_are_read(published):
    assert load_examples(f"spider:{published}", "test") == [
        Example(
            id=f"spider-dev-{n}",
            question=question,
            schema=f"{SINGER_LINE} {SONG_LINE}",
            sql=query,
            domain="music",
            database=published / "database" / "music" / "music.sqlite",
        )
        for n, (_, question, query) in enumerate(ROWS["dev.json"])
    ]
    assert load_examples(f"spider:{published}", "test_unseen") == load_examples(f"spider:{published}", "test")


def test_published_training_rows_are_split_by_databases(published):
    train, post, validation = (load_examples(f"spider:{published}", s) for s in ("train", "post", "validation"))
    ids = {f"spider-train-{n}" for n in range(16)} | {"spider-others-0"}
    rows = train + post
    assert {row.id for row in rows + validation} == ids and len(rows + validation) == 17
    assert len(post) == round(len(rows) / 10)
    assert validation and not {row.domain for row in rows} & {row.domain for row in validation}
    assert load_examples(f"spider:{published}", "train", limit=5) == train[:5]
    assert [row.id for row in train] != sorted(row.id for row in train)
    (published / "train_others.json").unlink()
    left = [load_examples(f"spider:{published}", split) for split in ("train", "post")]
    assert sum(left, []) == [row for row in rows if row.domain != "geo"]


def test_a_published_database_is_scored_on(published):
    (row, _) = load_examples(f"spider:{published}", "test")
    with Scorer(workers=1) as scorer:
        verdicts = scorer.score_batch([(row, row.sql), (row, "SELECT 2"), (row, 'SELECT sum("order") - 2 FROM singer')])
    assert [verdict.match for verdict in verdicts] == [True, False, True]


@pytest.mark.parametrize("name", ["spider", "spider_data", "Spider"])
def test_a_download_may_nest_its_folder_and_hold_what_a_mac_adds(published, tmp_path, name):
    expected = [row.id for row in load_examples(f"spider:{published}", "train")]
    outer = tmp_path / "outer"
    shutil.move(published, outer / name)
    for extra in ("__MACOSX/spider/dev.json", ".hidden/dev.json", f"{name}/database/music/._music.sqlite"):
        (outer / extra).parent.mkdir(parents=True, exist_ok=True)
        (outer / extra).write_bytes(b"\0\5\x16\7")
    for copy in ("a backup", "z backup"):  # of a database beside it
        (outer / name / "database" / copy).mkdir()
        (outer / name / "database" / copy / "music.sqlite").write_bytes(b"older")
    (outer / name / "database" / "__MACOSX").mkdir()
    (outer / name / "database" / ".DS_Store").write_bytes(b"\0")
    assert [row.id for row in load_examples(f"spider:{outer}", "train")] == expected
    assert load_examples(f"spider:{outer}", "test")[0].database.is_file()
    assert revision(f"spider:{outer}") == revision(f"spider:{outer / name}")
    shutil.copytree(outer / name, outer / "second")
    with pytest.raises(UserError, match=rf"holds Spider in {min(name, 'second')}, {max(name, 'second')}; name one"):
        load_examples(f"spider:{outer}", "test")


@pytest.mark.parametrize("kind", ["folder", "file", "nothing", "databases alone"])
def test_without_spider_the_message_says_which_files_are_wanted(tmp_path, kind):
    place = tmp_path / "x"
    if kind == "file":
        place.write_bytes(b"PK")
    elif kind != "nothing":
        (place / "database" if kind == "databases alone" else place).mkdir(parents=True)
    with pytest.raises(UserError) as error:
        load_examples(f"spider:{place}", "test")
    assert str(error.value) == (
        f"no Spider in {place}: schemas.json is missing; spider:DIR wants what Spider's authors publish (dev.json, "
        "train_spider.json, database/*/*.sqlite), or schemas.json, train.jsonl, dev.jsonl, databases.tar.gz"
    )


@pytest.mark.parametrize(("name", "split"), [("dev.json", "test"), ("train_spider.json", "train")])
def test_a_published_file_that_is_missing_is_named(published, name, split):
    (published / name).unlink()
    with pytest.raises(UserError, match=rf"^no Spider in .*: {name} is missing$"):
        load_examples(f"spider:{published}", split)


def rewrite(name: str, change) -> object:
    """Harms a file of rows by a change of the first."""

    def harm(folder: Path) -> None:
        rows = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps([change(rows[0]), *rows[1:]]))

    return harm


def without(key: str):
    return lambda row: {name: value for name, value in row.items() if name != key}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: halve(f / "dev.json"), r"/dev\.json cannot be read \(JSONDecodeError\); copy it again"),
        (lambda f: (f / "dev.json").write_bytes(b"[\xff]"), r"/dev\.json cannot be read \(UnicodeDecodeError\)"),
        (lambda f: (f / "dev.json").write_text('{"data": []}'), r": dev\.json is an object, not a list of rows"),
        (rewrite("dev.json", without("query")), r": row 1 of dev\.json has no text as query; copy it again"),
        (rewrite("dev.json", lambda row: row | {"question": None}), r": row 1 of dev\.json has no text as question"),
        (rewrite("dev.json", lambda row: row | {"query": ["SELECT 1"]}), r": row 1 of dev\.json has no text as query"),
        (rewrite("dev.json", lambda row: [row]), r": row 1 of dev\.json has no text as db_id"),
        (lambda f: shutil.rmtree(f / "database" / "music"), r" lacks 1 databases in database/, the first is music"),
        (lambda f: shutil.rmtree(f / "database"), r" lacks 1 databases in database/, the first is music"),
        (lambda f: (f / "database/music/music.sqlite").write_bytes(b"no database" * 99), r"/database/music cannot be"),
        (lambda f: (f / "database/music/music.sqlite").write_bytes(b""), r": the database music has no tables"),
    ],
)
def test_a_published_spider_with_a_harmed_file_is_one_line(published, harm, message):
    harm(published)
    with pytest.raises(UserError, match=f"^Spider in .*{message}"):
        load_examples(f"spider:{published}", "test")


def test_revision_covers_the_published_rows_and_databases(published):
    source = f"spider:{published}"
    revisions = [revision(source)]
    for name in ("dev.json", "train_spider.json", "train_others.json", "database/music/music.sqlite"):
        with (published / name).open("ab") as file:
            file.write(b" ")
        revisions.append(revision(source))
    assert len(set(revisions)) == 5
    (published / "README.txt").write_text("no content")
    assert revision(source) == revisions[-1]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], ""),
        (["CREATE TABLE t(a,b)"], "CREATE TABLE t(a,b);"),
        (['CREATE TABLE "t" ("a" DEFAULT \'x  -- y\', b /* c */ INT)'], "CREATE TABLE t (a DEFAULT 'x  -- y', b INT);"),
        # What is in quotes is no name, or must stay a name.
        (['CREATE TABLE "t" (a CHECK (a IN ("S", \'M\')))'], 'CREATE TABLE "t" (a CHECK (a IN ("S", \'M\')));'),
        (['CREATE TABLE "select" ("from" INT, "größe" INT, "1st" INT)'],) * 2,
        # Views stand behind tables, as they are.
        (
            ["CREATE TABLE t (a)", 'CREATE VIEW v AS\n  SELECT "a" FROM t\n  WHERE a = "x"', "CREATE TABLE u (b)"],
            'CREATE TABLE t (a); CREATE TABLE u (b); CREATE VIEW v AS SELECT "a" FROM t WHERE a = "x";',
        ),
        (["CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)"],) * 2,
        (["CREATE TABLE t (a)", "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END"], "CREATE TABLE t (a);"),
    ],
)
def test_the_schema_of_a_database_is_its_statements_on_one_line(tmp_path, statements, expected):
    expected = expected if isinstance(expected, str) else f"{expected[0]};"
    assert schema_text(database(tmp_path / "x.sqlite", "SELECT 1", *statements)) == expected


def test_a_database_of_latin_1_is_read(tmp_path):
    file = database(tmp_path / "x.sqlite", "CREATE TABLE t (Gr__e INT, b TEXT DEFAULT 'caf_')")
    content = file.read_bytes()
    assert content.count(b"Gr__e") == 1
    file.write_bytes(content.replace(b"Gr__e", "Größe".encode("latin-1")).replace(b"caf_", "café".encode("latin-1")))
    assert schema_text(file) == "CREATE TABLE t (Größe INT, b TEXT DEFAULT 'café');"
