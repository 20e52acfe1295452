"""The operations of one parse tree: a walk over its clauses, with each expression as a text that has one form only.

The texts are for comparison, not for SQLite. Knows a statement's own names and no schema; what is one operation and
what two texts share is said in `operations`. Raises what odd trees bring about; the caller sees to that.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from sqlglot import exp

from common.rewards.scope import Scope

Operations = Counter[tuple[str, str]]
_SIGNS = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_TURNED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}  # with its sides exchanged
_OPPOSITES = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_COMPARISONS = tuple(_SIGNS)
_UNORDERED = {exp.And: " and ", exp.Or: " or ", exp.Add: " + ", exp.Mul: " * "}
_QUERY = "query"  # stands for a subquery or a CTE, whatever its alias
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


class Reader:
    """Collects the `operations` of statements. unresolved: columns without a table that several tables may have."""

    def __init__(self, bare: Iterable[str] = frozenset()):
        """bare: names of columns that are written without their tables."""
        self.operations: Operations = Counter()
        self.unresolved: set[str] = set()
        self._bare = bare
        self._ctes: set[str] = set()
        self._done: set[int] = set()  # nodes whose operations are counted; an expression may be read several times
        self._prefix = ""

    def read(self, tree: exp.Expression) -> None:
        """Add a statement's operations; none for a text that is no statement, such as a single word."""
        scope = Scope()
        self._ctes |= {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
        match tree:
            case exp.Select() | exp.SetOperation() | exp.Subquery():
                self._query(tree, None)
            case exp.Insert() | exp.Update() | exp.Delete():
                self._write(tree, scope)
            case exp.Create():
                self._create(tree, scope)
            case exp.Values():
                self._add_all("values", tree.expressions, scope)
            case exp.Condition() | exp.Alias():
                pass
            case _:
                self._add(tree.key, self._text(tree, scope))

    def _add(self, kind: str, text: str = "") -> None:
        self.operations[self._prefix + kind, text] += 1

    def _add_all(self, kind: str, nodes: Iterable[exp.Expression], scope: Scope) -> None:
        for node in nodes:
            self._add(kind, self._text(node, scope))

    # --- statements -------------------------------------------------------------------------------------------------

    def _query(self, node: exp.Expression, outer: Scope | None) -> Scope:
        """Add a query's operations, once; what its names mean."""
        if id(node) in self._done:
            return Scope(outer=outer)
        self._done.add(id(node))
        self._common_tables(node, outer)
        if isinstance(node, exp.Select):
            scope = self._select(node, outer)
        elif isinstance(node, exp.SetOperation):
            self._add("set operation", f"{node.key} all" if node.args.get("distinct") is False else node.key)
            scope = self._query(node.this, outer)
            before = self._prefix
            if isinstance(node, exp.Except):  # whose sides are not the same
                self._prefix += "except: "
            self._query(node.expression, outer)
            self._prefix = before
        elif isinstance(node, exp.Subquery):
            scope = self._query(node.this, outer)
        else:
            scope = Scope(outer=outer)
            self._add_all("values", node.expressions, scope)
        self._tail(node, scope)
        return scope

    def _common_tables(self, node: exp.Expression, outer: Scope | None) -> None:
        if clause := node.args.get("with_"):
            for cte in clause.expressions:
                self._query(cte.this, outer)
            if clause.args.get("recursive"):
                self._add("recursive")

    def _select(self, node: exp.Select, outer: Scope | None) -> Scope:
        scope = Scope(outer=outer)
        conditions = self._sources(node, scope)
        scope.columns = [self._text(column, scope) for column in node.expressions]
        for text in scope.columns:
            self._add("column", text)
        if len(scope.columns) > 1:
            self._add("columns", ", ".join(scope.columns))  # whose order matters
        if node.args.get("distinct"):
            self._add("distinct")
        for kind, condition in conditions:
            self._conditions(kind, condition, scope)
        self._where(node, scope)
        named = zip(node.expressions, scope.columns, strict=True)
        scope = replace(scope, aliases={e.alias.casefold(): text for e, text in named if isinstance(e, exp.Alias)})
        if group := node.args.get("group"):
            for key in group.expressions:
                self._add("group", self._key(key, scope))
        if having := node.args.get("having"):
            self._conditions("having", having.this, scope)
        for window in node.args.get("windows") or ():
            self._window(window, scope)
        return scope

    def _sources(self, node: exp.Expression, scope: Scope) -> list[tuple[str, exp.Expression]]:
        """Add FROM and the joins to operations and scope; the joins' conditions with their kinds, for later."""
        conditions: list[tuple[str, exp.Expression]] = []
        if clause := node.args.get("from_"):
            conditions += self._source(clause.this, scope)
        return conditions + self._joins(node, scope)

    def _joins(self, node: exp.Expression, scope: Scope) -> list[tuple[str, exp.Expression]]:
        conditions: list[tuple[str, exp.Expression]] = []
        for join in node.args.get("joins") or ():
            conditions += self._source(join.this, scope)
            side, method = (str(join.args.get(name) or "").casefold() for name in ("side", "method"))
            # Of an outer join it matters which table is on which side.
            table = next(reversed(scope.tables.values()), "") if side else ""
            self._add("join", " ".join(filter(None, (method, side or "inner", table))))
            if condition := join.args.get("on"):
                conditions.append((f"{side} join" if side else "filter", condition))
            for column in join.args.get("using") or ():
                self._add("using", column.name.casefold())
        return conditions

    def _source(self, node: exp.Expression, scope: Scope) -> list[tuple[str, exp.Expression]]:
        """Add what stands in FROM or behind JOIN; see `_sources`."""
        if isinstance(node, exp.Subquery) and not isinstance(node.this, _QUERIES):  # (one JOIN another)
            return self._source(node.this, scope) + self._joins(node, scope)
        name = self._text(node, scope) if isinstance(node, exp.Table) else _QUERY
        if isinstance(node, exp.Table) and not node.db and name in self._ctes:
            name = _QUERY
        elif isinstance(node, exp.Subquery | exp.Values):
            self._query(node, scope.outer)
        self._add("table", name)
        scope.add((node.alias or node.name).casefold() or name, name)
        return self._joins(node, scope) if isinstance(node, exp.Table) else []

    def _where(self, node: exp.Expression, scope: Scope) -> None:
        if where := node.args.get("where"):
            self._conditions("filter", where.this, scope)

    def _tail(self, node: exp.Expression, scope: Scope) -> None:
        if order := node.args.get("order"):
            for number, key in enumerate(order.expressions, start=1):
                self._add("order", f"{number}: {self._direction(key, scope)}")
        for name in ("limit", "offset"):
            if clause := node.args.get(name):
                self._add(name, self._text(clause.expression, scope))

    def _write(self, node: exp.Expression, scope: Scope) -> None:
        """INSERT, UPDATE, DELETE."""
        self._common_tables(node, None)
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        table = self._text(target, scope)
        self._add(node.key, table)
        scope.add((target.alias or target.name).casefold(), table)
        conditions = self._sources(node, scope)
        if isinstance(node, exp.Insert):
            names = node.this.expressions if isinstance(node.this, exp.Schema) else []
            for number, name in enumerate(names, start=1):
                self._add("into", f"{number}: {name.name.casefold()}")
            if node.expression:
                self._query(node.expression, None)
            for name in ("alternative", "ignore", "default"):
                if value := node.args.get(name):
                    self._add("insert or", f"{name} {value}".casefold())
            self._add_all("conflict", filter(None, [node.args.get("conflict")]), scope)
        for value in node.expressions if isinstance(node, exp.Update) else ():
            self._add("set", f"{self._text(value.this, scope)} = {self._text(value.expression, scope)}")
        for kind, condition in conditions:
            self._conditions(kind, condition, scope)
        self._where(node, scope)
        self._tail(node, scope)
        if returning := node.args.get("returning"):
            self._add_all("returning", returning.expressions, scope)

    def _create(self, node: exp.Create, scope: Scope) -> None:
        is_table = isinstance(node.this, exp.Schema)
        kind = " ".join(["unique"] * bool(node.args.get("unique")) + [str(node.args.get("kind")).casefold()])
        self._add("create", f"{kind} {self._text(node.this.this if is_table else node.this, scope)}")
        if is_table:
            self._add_all("definition", node.this.expressions, scope)
        if isinstance(node.expression, _QUERIES):
            self._query(node.expression, None)

    # --- conditions and keys ----------------------------------------------------------------------------------------

    def _conditions(self, kind: str, node: exp.Expression, scope: Scope) -> None:
        """Add what AND joins one by one; of an OR both its parts and the whole."""
        node = node.unnest()
        if isinstance(node, exp.And | exp.Or):
            if isinstance(node, exp.Or):
                self._add(kind, self._text(node, scope))
            for part in node.flatten():
                self._conditions(kind, part, scope)
        elif isinstance(node, exp.Between) and not node.args.get("symmetric"):
            for bound, sign in (("low", ">="), ("high", "<=")):
                self._add(kind, self._comparison(node.this, sign, node.args[bound], scope))
        else:
            self._add(kind, self._text(node, scope))

    def _key(self, node: exp.Expression, scope: Scope) -> str:
        """A key of GROUP BY or ORDER BY; a number stands for a selected expression."""
        if isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit():
            return dict(enumerate(scope.columns, start=1)).get(int(node.name), node.name)
        return self._text(node, scope)

    def _direction(self, node: exp.Expression, scope: Scope) -> str:
        """A key of ORDER BY with its direction."""
        is_falling, nulls_first = bool(node.args.get("desc")), bool(node.args.get("nulls_first"))
        # NULL is SQLite's least value; sqlglot says so too where the text does not.
        nulls = f" nulls {'first' if nulls_first else 'last'}" if nulls_first == is_falling else ""
        return self._key(node.this, scope) + (" desc" if is_falling else "") + nulls

    # --- expressions ------------------------------------------------------------------------------------------------

    def _text(self, node: exp.Expression, scope: Scope) -> str:
        """An expression's text. Adds the aggregates, windows and subqueries in it, an aggregate once a query."""
        match node:
            case exp.Column():
                return self._column(node, scope)
            case exp.Identifier() | exp.Table(this=exp.Identifier()):
                return node.name.casefold()
            case exp.Literal():
                return f"'{node.this}'" if node.is_string else node.this
            case exp.Star():
                return "*"
            case exp.Alias() | exp.Paren():
                return self._text(node.this, scope)
            case exp.Select() | exp.SetOperation() | exp.Subquery():
                self._query(node, scope)
                return f"({_QUERY})"
            case exp.Window():
                return self._window(node, scope)
            case exp.Ordered():
                return self._direction(node, scope)
            case exp.And() | exp.Or() | exp.Add() | exp.Mul():
                parts = sorted(self._text(part, scope) for part in node.flatten())
                return f"({_UNORDERED[type(node)].join(parts)})"
            case exp.In() if node.expressions:
                return f"{self._text(node.this, scope)} in ({', '.join(sorted(self._texts(node.expressions, scope)))})"
            case exp.Not():
                inner = node.this.unnest()
                if isinstance(inner, _COMPARISONS):
                    return self._comparison(inner.this, _OPPOSITES[_SIGNS[type(inner)]], inner.expression, scope)
                return f"not {self._text(inner, scope)}"
        if isinstance(node, _COMPARISONS):
            return self._comparison(node.this, _SIGNS[type(node)], node.expression, scope)
        text = self._call(node, scope)
        if isinstance(node, exp.AggFunc) and id(node) not in self._done and text not in scope.aggregates:
            scope.aggregates.add(text)  # once, whether other clauses write it anew or use its alias
            self._add("aggregate", text)
        return text

    def _texts(self, nodes: Iterable[exp.Expression], scope: Scope) -> list[str]:
        return [self._text(node, scope) for node in nodes]

    def _call(self, node: exp.Expression, scope: Scope) -> str:
        """Any other expression: its class and its arguments."""
        parts = []
        for name, value in sorted(node.args.items(), key=lambda item: (item[0] != "this", item[0])):
            values = [each for each in (value if isinstance(value, list) else [value]) if each not in (None, False)]
            if values and name != "big_int":  # which every COUNT has
                texts = (self._text(v, scope) if isinstance(v, exp.Expr) else str(v).casefold() for v in values)
                label = "" if name in ("this", "expression", "expressions") else f"{name}: "
                parts.append(label + ", ".join(texts))
        return f"{node.key}({', '.join(parts)})"

    def _column(self, node: exp.Column, scope: Scope) -> str:
        name, alias = ("*" if isinstance(node.this, exp.Star) else node.name.casefold()), node.table.casefold()
        if not alias and name in scope.aliases:
            return scope.aliases[name]
        table = scope.owner(alias)
        if table is None:
            self.unresolved.add(name)
        return name if table is None or name in self._bare else f"{table}.{name}"

    def _comparison(self, left: exp.Expression, sign: str, right: exp.Expression, scope: Scope) -> str:
        """A comparison, constants to the right, else the sides in the order of the alphabet."""
        sides = [(isinstance(side, exp.Literal), self._text(side, scope)) for side in (left, right)]
        if sides[0] > sides[1]:
            sides, sign = sides[::-1], _TURNED[sign]
        return f"{sides[0][1]} {sign} {sides[1][1]}"

    def _window(self, node: exp.Window, scope: Scope) -> str:
        """A window function, or a window that has a name, with its parts as operations of their own."""
        is_new = id(node) not in self._done
        self._done |= {id(node), id(node.this)}  # its function is no aggregate
        name = node.args.get("alias")
        parts = [("window", self._text(node.this, scope) + (f" over {name.name.casefold()}" if name else ""))]
        parts += [("partition", text) for text in self._texts(node.args.get("partition_by") or (), scope)]
        keys = node.args["order"].expressions if node.args.get("order") else ()
        parts += [("window order", f"{n}: {self._direction(key, scope)}") for n, key in enumerate(keys, start=1)]
        if frame := node.args.get("spec"):
            parts.append(("frame", self._call(frame, scope)))
        if is_new:
            for kind, text in parts:
                self._add(kind, text)
        return f"window({'; '.join(text for _, text in parts)})"
