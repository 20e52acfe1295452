"""What names mean in one query of a parse tree: which table an alias stands for, which expression a column's alias.

Knows what the statement says and no schema: a column without a table belongs to the only table there is, or to none.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Scope:
    """tables: by alias, each a table, numbered where it comes again. counts: how often it has come. columns: texts of
    the selected expressions. aliases: these by alias, where a clause may use them. aggregates: those that
    are counted. outer: the query around it."""

    tables: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    columns: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    aggregates: set[str] = field(default_factory=set)
    outer: "Scope | None" = None

    def add(self, alias: str, table: str) -> None:
        # The two sides of a self-join are not the same, whatever they are called; nor those of a subquery and its own.
        self.counts[table] += 1
        number = self.count(table)
        self.tables[alias] = f"{table} {number}" if number > 1 else table

    def count(self, table: str) -> int:
        """How often a table stands here and in the queries around."""
        return self.counts[table] + (self.outer.count(table) if self.outer else 0)

    def owner(self, alias: str) -> str | None:
        """The table that an alias stands for; of no alias the only table there is, else None."""
        if not alias:
            return next(iter(self.tables.values())) if len(self.tables) == 1 else None
        if alias in self.tables:
            return self.tables[alias]
        return self.outer.owner(alias) if self.outer else alias
