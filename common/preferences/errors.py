"""What is wrong with a wrong answer, in one word: the scorer's outcome, or the first clause that differs.

Clauses are looked at in the order in which a query is read by its engine: another table or join first, since all below
it differs too. A statement that sqlglot cannot parse is `other`. Says what differs in the text of the clauses, not
which of several differences made the rows differ.
"""

from contextlib import suppress

LONGEST = 20_000  # characters, as in `common.mutations`: the parser recurses
CLAUSES = ("tables", "filter", "grouping", "columns", "order", "set operation", "change")
KINDS = (*CLAUSES, "other", "syntax_error", "schema_error", "runtime_error", "forbidden", "budget", "too_large")
_PARTS = {
    "tables": ("from", "from_", "joins"),
    "filter": ("where",),
    "grouping": ("group", "having"),
    "columns": ("expressions", "distinct"),
    "order": ("order", "limit", "offset"),
}


def error_kind(reference: str, statement: str, outcome: str) -> str:
    """One of KINDS, or the scorer's `outcome` where the statement brought no rows to compare."""
    if outcome not in ("mismatch", "match"):
        return outcome
    if max(len(reference), len(statement)) > LONGEST:
        return "other"
    import sqlglot

    with suppress(Exception):  # sqlglot's own errors are not all it raises on odd texts
        one, other = (_lower(sqlglot.parse_one(text, dialect="sqlite")) for text in (reference, statement))
        return _first_difference(one, other)
    return "other"


def _first_difference(one, other) -> str:
    from sqlglot import exp

    if isinstance(one, exp.SetOperation) or isinstance(other, exp.SetOperation):
        return "set operation"
    if not (isinstance(one, exp.Select) and isinstance(other, exp.Select)):
        return "change"
    tables = [{table.name.casefold() for table in tree.find_all(exp.Table)} for tree in (one, other)]
    if tables[0] != tables[1]:
        return "tables"
    for kind, names in _PARTS.items():
        if _text(one, names) != _text(other, names):
            return kind
    return "other"


def _lower(tree):
    """The tree with names in lower case, in place; strings stay."""
    from sqlglot import exp

    for name in tree.find_all(exp.Identifier):
        name.set("this", name.this.casefold())
    return tree


def _text(tree, names: tuple[str, ...]) -> str:
    """Clauses of a query as one text."""
    parts = []
    for name in names:
        value = tree.args.get(name)
        parts += [each.sql(dialect="sqlite") for each in (value if isinstance(value, list) else [value]) if each]
    return " ".join(parts)
