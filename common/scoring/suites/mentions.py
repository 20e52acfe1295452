"""What a reference says of the data: constants beside columns, columns compared with each other, sizes it counts.

Parsed by sqlglot; where that fails nothing is known, and the databases are made from the given rows alone. Names are
looked up without scopes: a constant may land on a column of the same name too many, which does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.scoring.suites.survey import Column, Survey

if TYPE_CHECKING:
    from sqlglot import exp

Place = tuple[str, str]
MOST_CONSTANTS = 24  # of one column
_CLOCK = {"now", "current_date", "current_timestamp", "current_time"}


@dataclass
class Mentions:
    """Constants by column (what they are compared with), patterns of LIKE, values an INSERT brings, and more."""

    constants: dict[Place, list[object]] = field(default_factory=dict)
    patterns: dict[Place, list[str]] = field(default_factory=dict)
    insertions: dict[Place, list[object]] = field(default_factory=dict)
    null_tests: set[Place] = field(default_factory=set)
    groups: list[Column] = field(default_factory=list)
    repeats: list[Column] = field(default_factory=list)  # what is grouped or made distinct in one table has repeats
    # Where ties would change the meaning: the only key of an ORDER BY with LIMIT, what is compared with its MAX or MIN,
    # and sets of columns: those that a running aggregate is ordered by within its partition.
    tie_breakers: list[Column] = field(default_factory=list)
    tie_breaking_sets: list[list[Column]] = field(default_factory=list)
    comparisons: list[tuple[Column, Column]] = field(default_factory=list)
    joins: list[tuple[Column, Column]] = field(default_factory=list)  # those compared by =
    counts: list[int] = field(default_factory=list)  # numbers beside COUNT
    limit: int = 0  # LIMIT and OFFSET together, the largest
    extremes: bool = False  # MAX, MIN or LIMIT: of no rows they make NULL or nothing
    clock: bool = False
    outer_join: bool = False
    # What comes first may decide: windows, lists of a group, LIMIT; and surely does: LIMIT without ORDER BY, columns
    # beside those of a GROUP BY.
    fragile: bool = False
    arbitrary: bool = False


def read_mentions(statements: Sequence[str], survey: Survey) -> Mentions:
    """What the statements of a reference mention of the survey's columns."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    mentions = Mentions()
    for statement in statements:
        try:
            tree = sqlglot.parse_one(statement, dialect="sqlite")
            _Reader(tree, survey, mentions, exp).read()
        except (SqlglotError, RecursionError, ValueError, AttributeError):
            continue  # half of what it says is better than nothing
    return mentions


class _Reader:
    """One statement's tree, and where its names lead."""

    def __init__(self, tree: exp.Expression, survey: Survey, mentions: Mentions, exp: Any):
        self.tree, self.mentions, self.exp = tree, mentions, exp
        self.by_name: dict[str, list[Column]] = {}
        self.tables = {table.name.casefold(): table for table in survey.tables}
        self.aliases: dict[str, set[str]] = {}
        names = set()
        for node in tree.find_all(exp.Table):
            name = node.name.casefold()
            if name in self.tables:
                names.add(name)
                self.aliases.setdefault((node.alias or node.name).casefold(), set()).add(name)
        for name in sorted(names):
            for column in self.tables[name].columns:
                self.by_name.setdefault(column.name.casefold(), []).append(column)
        self.expressions = {node.alias.casefold(): node.this for node in tree.find_all(exp.Alias)}

    def read(self) -> None:
        exp = self.exp
        for node in self.tree.walk():
            if isinstance(node, exp.Like | exp.ILike | exp.Glob):
                self._compare(node.this, node.expression, pattern=True)
            elif isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Is | exp.NullSafeEQ):
                self._compare(node.this, node.expression, equal=isinstance(node, exp.EQ))
            elif isinstance(node, exp.Between):
                self._compare(node.this, node.args["low"])
                self._compare(node.this, node.args["high"])
            elif isinstance(node, exp.In):
                for item in node.expressions[:MOST_CONSTANTS]:
                    self._compare(node.this, item)
                if node.args.get("query"):
                    self._pair(node.this, node.args["query"], equal=True)
                    self._extreme(node.this, node.args["query"])
            elif isinstance(node, exp.Case) and node.this is not None:
                for branch in node.args["ifs"]:
                    self._compare(node.this, branch.this)
            elif isinstance(node, exp.Coalesce):
                for column in self._columns(node.this):
                    self.mentions.null_tests.add(column.place)
            elif isinstance(node, exp.Window | exp.GroupConcat):
                self.mentions.fragile = True
                self._window(node)
            elif isinstance(node, exp.Limit | exp.Offset):
                self.mentions.fragile = True
                self.mentions.arbitrary |= not (node.parent and node.parent.args.get("order"))
                self.mentions.limit += sum(int(v) for v in self._literals(node.expression) if isinstance(v, int))
                self.mentions.extremes = True
                keys = self._order_keys(node.parent)
                self.mentions.tie_breakers += keys if len(keys) == 1 else []
            elif isinstance(node, exp.Group):
                groups = [column for item in node.expressions for column in self._columns(item)]
                self.mentions.groups += groups
                items = getattr(node.parent, "expressions", [])
                beside = [column for item in items if not item.find(exp.AggFunc) for column in self._columns(item)]
                self.mentions.arbitrary |= any(column not in groups for column in beside)
                self._add_repeats(groups)
            elif isinstance(node, exp.Distinct):
                items = node.expressions or getattr(node.parent, "expressions", [])
                self._add_repeats([column for item in items for column in self._columns(item)])
            elif isinstance(node, exp.Join):
                self.mentions.outer_join |= bool(node.side)
            elif isinstance(node, exp.Max | exp.Min):
                self.mentions.extremes = True
            elif isinstance(node, exp.Insert):
                self._insert(node)
            elif (isinstance(node, exp.Literal) and str(node.this).casefold() in _CLOCK) or isinstance(
                node, exp.CurrentDate | exp.CurrentTimestamp | exp.CurrentTime
            ):
                self.mentions.clock = True

    def _window(self, node: exp.Expression) -> None:
        """An aggregate over an ordered window, or what asks for a row's place: of rows that tie any may come first.

        RANK and DENSE_RANK are left out: they say what rows that tie get.
        """
        exp = self.exp
        is_aggregate = isinstance(node.this, exp.Sum | exp.Avg | exp.Count | exp.Max | exp.Min)
        is_place = isinstance(node.this, exp.RowNumber | exp.Lag | exp.Lead | exp.FirstValue | exp.LastValue)
        keys = self._order_keys(node) if is_aggregate or is_place else []
        if keys:
            partition = [column for item in node.args.get("partition_by") or () for column in self._columns(item)]
            self.mentions.tie_breaking_sets.append([*partition, *keys])

    def _order_keys(self, node: exp.Expression | None) -> list[Column]:
        """The columns that a SELECT or a window is ordered by; none where a key is anything else."""
        order = node.args.get("order") if node is not None else None
        keys: list[Column] = []
        for ordered in order.expressions if order is not None else ():
            column = ordered.this if isinstance(ordered, self.exp.Ordered) else ordered
            if not isinstance(column, self.exp.Column) or column.name.casefold() in self.expressions:
                return []
            keys += self._resolve(column, 3)[:1]
        return keys

    def _extreme(self, left: exp.Expression, right: exp.Expression) -> None:
        """A column that equals a MAX or MIN of its table."""
        exp = self.exp
        query = right.this if isinstance(right, exp.Subquery) else right
        if isinstance(left, exp.Column) and isinstance(query, exp.Select) and len(query.expressions) == 1:
            item = query.expressions[0].unalias()
            if isinstance(item, exp.Max | exp.Min) and isinstance(item.this, exp.Column):
                self.mentions.tie_breakers += [c for c in self._resolve(left, 3) if c in self._resolve(item.this, 3)]

    def _compare(self, left: exp.Expression, right: exp.Expression, *, pattern: bool = False, equal: bool = False):
        self._pair(left, right, equal=equal)
        if equal:
            self._extreme(left, right)
            self._extreme(right, left)
        for side, other in ((left, right), (right, left)):
            columns = self._columns(side)
            if isinstance(other, self.exp.Null):
                self.mentions.null_tests |= {column.place for column in columns}
                continue
            values = self._literals(other)
            if self._counts(side):
                self.mentions.counts += [int(v) for v in values if isinstance(v, int | float) and 0 <= v < 1000]
            for column in columns:
                target = self.mentions.patterns if pattern else self.mentions.constants
                constants = target.setdefault(column.place, [])
                constants += [v for v in values if v not in constants and (not pattern or isinstance(v, str))]
                del constants[MOST_CONSTANTS:]

    def _pair(self, left: exp.Expression, right: exp.Expression, *, equal: bool) -> None:
        ours, theirs = self._columns(left)[:2], self._columns(right)[:2]
        for a in ours:
            for b in theirs:
                if a is not b:
                    plain = isinstance(left, self.exp.Column) and isinstance(right, self.exp.Column | self.exp.Subquery)
                    (self.mentions.joins if equal and plain else self.mentions.comparisons).append((a, b))

    def _add_repeats(self, columns: list[Column]) -> None:
        if len(self.aliases) == 1:
            self.mentions.repeats += columns

    def _insert(self, node: exp.Expression) -> None:
        exp = self.exp
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        table = self.tables.get(target.name.casefold()) if isinstance(target, exp.Table) else None
        if table is None or not isinstance(node.expression, exp.Values):
            return
        names = [item.name.casefold() for item in node.this.expressions] if isinstance(node.this, exp.Schema) else []
        columns = {column.name.casefold(): column for column in table.columns}
        order = [columns.get(name) for name in names] if names else list(table.columns)
        for row in node.expression.expressions:
            for column, item in zip(order, getattr(row, "expressions", []), strict=False):
                if column is not None:
                    self.mentions.insertions.setdefault(column.place, []).extend(self._literals(item))

    def _columns(self, side: exp.Expression, depth: int = 0) -> list[Column]:
        """The columns an expression rests on, through the aliases of the statement."""
        columns: list[Column] = []
        for node in side.find_all(self.exp.Column):
            for column in self._resolve(node, depth):
                if column not in columns:
                    columns.append(column)
        return columns

    def _resolve(self, node: exp.Expression, depth: int) -> list[Column]:
        name = node.name.casefold()
        columns = self.by_name.get(name, [])
        if node.table and (tables := self.aliases.get(node.table.casefold())):
            columns = [column for column in columns if column.table.casefold() in tables] or columns
        if not columns and depth < 3 and name in self.expressions:
            return self._columns(self.expressions[name], depth + 1)
        return columns

    def _counts(self, side: exp.Expression) -> bool:
        if side.find(self.exp.Count):
            return True
        expressions = [self.expressions.get(node.name.casefold()) for node in side.find_all(self.exp.Column)]
        return any(expression is not None and expression.find(self.exp.Count) for expression in expressions)

    def _literals(self, side: exp.Expression | None) -> list[object]:
        """The constants of an expression without columns; a double-quoted name that is no column is a text."""
        exp = self.exp
        if side is None or isinstance(side, exp.Subquery | exp.Select):
            return []
        constants: list[object] = []
        for node in side.walk():
            if isinstance(node, exp.Column):
                if self._resolve(node, 0) or not node.this.args.get("quoted"):
                    return []
                constants.append(node.name)
            elif isinstance(node, exp.Boolean):
                constants.append(int(node.this))
            elif isinstance(node, exp.Literal):
                value = _value(node)
                constants.append(-value if isinstance(node.parent, exp.Neg) and not isinstance(value, str) else value)
        return constants


def _value(node: exp.Expression) -> object:
    text = str(node.this)
    if node.is_string:
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)
