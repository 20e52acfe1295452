"""The README's example is the prompt that every method gets, and its answer gives the rows it shows."""

import ast
import re
import sqlite3

from common.data import Example
from common.prompts import SYSTEM, messages
from common.settings import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language):
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


def test_the_example_is_the_studys_prompt_and_runs():
    shown = ast.literal_eval(fenced("python").removeprefix("messages = "))
    schema = shown[0]["content"].removeprefix(SYSTEM.partition("'")[0] + "'").removesuffix("'")
    example = Example("timber", shown[1]["content"], schema, fenced("sql"))
    assert messages(example) == shown
    database = sqlite3.connect(":memory:")
    database.executescript(example.schema)
    rows = database.execute(example.sql).fetchall()
    assert len(rows) == 2
    assert f"which returns {' and '.join(f'`{row}`' for row in rows)}." in README
