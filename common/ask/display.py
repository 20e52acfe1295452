"""An answer's rows as a person reads them: plain text for a terminal, a table for a notebook."""

import pandas

from common.ask.votes import Answer
from common.execution import Table
from common.execution.executions import words


def frame(table: Table, most: int = 20) -> pandas.DataFrame:
    """The first rows, values as words."""
    rows = [words(row) for row in table.rows[:most]]
    return pandas.DataFrame(rows, columns=list(table.columns), index=range(1, len(rows) + 1))


def rows_text(table: Table, most: int = 20) -> str:
    """The first rows under their columns, and how many there are."""
    head = f"{table.name}:\n" if table.name else ""
    if not table.count:
        return f"{head}no rows"
    with pandas.option_context("display.max_colwidth", 60, "display.width", 200):
        text = frame(table, most).to_string(index=False, justify="left")
    count = f"{table.count:,} row{'s' * (table.count != 1)}"
    return f"{head}{text}\n({count}{f', the first {most}' if table.count > most else ''})"


def vote_table(answer: Answer) -> pandas.DataFrame:
    """Statements by the votes that their results have."""
    statements = [(answer.sql, answer.votes), *answer.others]
    return pandas.DataFrame(statements, columns=["statement", f"votes of {answer.of}"])
