"""An answer's rows as a person reads them: plain text for a terminal, a table for a notebook."""

from collections.abc import Mapping

import pandas

from common.ask.copies import Copy
from common.ask.votes import Answer
from common.execution import Change, Table
from common.execution.executions import words


def frame(table: Table, most: int = 20) -> pandas.DataFrame:
    """The first rows, values as words."""
    rows = [words(row) for row in table.rows[:most]]
    return pandas.DataFrame(rows, columns=list(table.columns), index=range(1, len(rows) + 1))


def rows_text(table: Table, most: int = 20) -> str:
    """The first rows under their columns, and how many there are."""
    if not table.count:
        return "no rows"
    with pandas.option_context("display.max_colwidth", 60, "display.width", 200):
        text = frame(table, most).to_string(index=False, justify="left")
    count = f"{table.count:,} row{'s' * (table.count != 1)}"
    return f"{text}\n({count}{f', the first {most}' if table.count > most else ''})"


def change_text(change: Change, most: int = 5) -> str:
    """What became of one object: in words, and the first rows that went and came."""
    kinds = {"new": "is new", "gone": "is gone", "changed": "has other columns", "rows": "has other rows"}
    lines = [f"{change.name} {kinds[change.kind]}"]
    for word, table in (("removed", change.removed), ("added", change.added)):
        if table and table.count:
            lines.append(f"{word}:\n{rows_text(table, most)}")
    return "\n".join(lines)


def vote_table(answer: Answer) -> pandas.DataFrame:
    """Statements by the votes that their results have."""
    statements = [(answer.sql, answer.votes), *answer.others]
    return pandas.DataFrame(statements, columns=["statement", f"votes of {answer.of}"])


def answer_table(answers: Mapping[str, Answer]) -> pandas.DataFrame:
    """One line a model: its statement, the first row of what it gives, how many rows that is, and its votes."""
    lines = []
    for name, answer in answers.items():
        execution = answer.execution
        table = execution.tables[0] if execution.tables else None
        first = ", ".join(words(table.rows[0])) if table and table.rows else execution.detail or "no rows"
        votes = f"{answer.votes} of {answer.of}"
        lines.append({"model": name, "statement": answer.sql, "first row": first, "rows": table.count if table else 0})
        lines[-1]["votes"] = votes
    return pandas.DataFrame(lines)


def source_table(copy: Copy) -> pandas.DataFrame:
    """The tables of a file: their columns, and the tables that their keys refer to."""
    lines = [(table.name, ", ".join(table.columns), ", ".join(table.targets)) for table in copy.tables]
    return pandas.DataFrame(lines, columns=["table", "columns", "refers to"])
