"""Running a reference or a completion on one database, and why two runs are no match."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.sandbox.database import Database, Unloadable, is_simple
from common.sandbox.statements import Failure, Result, Room, Row, check, execute, run_queries, split
from common.sandbox.worker import free_time
from common.scoring import COLUMN_ORDER, ordering, state
from common.scoring.columns import fit_in_another_order
from common.scoring.compare import same_bag, same_sequence
from common.scoring.pairing import PairingBudget

SEED = 1
OTHER_SEEDS = range(2, 10)  # several, since a choice among few rows may fall out the same twice
MOST_EXPLANATION_ROWS = 200
WRONG_ORDER = "rows in an order, or a choice of rows, that the reference's ORDER BY does not allow"


@dataclass(slots=True)
class Run:
    """What a text's statements did: the results of those that return columns, and the database if any wrote.

    ticks: of the step counter, `guard.STEPS_BETWEEN_TICKS` steps each. volatile: see `Guard`.
    """

    results: list[Result]
    state: state.State | state.Snapshot | None
    uses_random: bool
    ticks: int
    volatile: bool


@dataclass
class Reference:
    """A reference that ran, and what its result allows."""

    statements: list[str]
    run: Run
    database: Database
    _orders: dict[int, list[list[ordering.Block]]] = field(default_factory=dict, repr=False)

    def orders(self, number: int = 0, on_ties: Callable[[], None] = lambda: None) -> list[list[ordering.Block]]:
        """Orders of a statement's rows that are as good as its own; none where only its own is. For one that reads.

        on_ties: called before the statement is run again, which is once.
        """
        if number not in self._orders:
            on_ties()
            statement, result = self.statements[number], self.run.results[number]
            orders = ordering.orders_of(statement, result, self.database.reader, seed=SEED)
            with free_time():
                is_trusted = any(ordering.allows(blocks, result.rows) for blocks in orders)
            self._orders[number] = orders if is_trusted else []
        return self._orders[number]


def statements_of(sql: str) -> list[str]:
    """The statements of a text that SQLite can be given. Raises Failure."""
    check(sql)
    return split(sql)


def first_run(database: Database, sql: str) -> Reference:
    """Run a reference. Raises Failure with outcome reference_error or reference_nondeterministic."""
    try:
        statements = statements_of(sql)
        if not statements:
            raise Failure("reference_error", "no statement")
        reference = Reference(statements, run_on(database, statements), database)
        # With the clock frozen nothing but random() can change a result; other seeds show whether it does.
        for seed in OTHER_SEEDS if reference.run.uses_random else ():
            if difference(reference, run_on(database, statements, seed=seed)):
                raise Failure("reference_nondeterministic", "the result depends on random()")
    except Failure as error:
        if error.outcome == "reference_nondeterministic":
            raise
        raise Failure("reference_error", f"the reference fails: {error.detail}") from error
    return reference


def run_on(database: Database, statements: list[str], *, seed: int = SEED) -> Run:
    """Run statements on the shared connection where they only read, else on a copy of their own. Raises Failure."""
    results = run_queries(database, statements, seed=seed)
    if results is not None:
        guard = database.reader.guard
        return Run(results, None, guard.uses_random, guard.ticks, guard.volatile)
    try:
        simple = database.is_simple and all(map(is_simple, statements))
        with database.copy(reuses=simple) as handle:
            handle.guard.begin("write", seed=seed)
            room = Room()
            results_or_none = [execute(handle, statement, room=room) for statement in statements]
            after = state.snapshot_of(handle) if simple else None
            if after is None:
                after = state.read(handle)  # a view may use random() too
            guard = handle.guard
            results = [result for result in results_or_none if result is not None]
            return Run(results, after, guard.uses_random, guard.ticks, guard.volatile)
    except Unloadable as error:
        raise Failure("too_large", str(error)) from error


def difference(
    reference: Reference, other: Run, on_ties: Callable[[], None] = lambda: None, *, explains: bool = False
) -> str | None:
    """Why a run does not match the reference, in one line, or None where it does.

    on_ties: called before the reference's ties are followed, which runs it again. explains: values that differ are
    looked into, which takes longer than to say that they do.
    """
    target = reference.run
    if (target.state is None) != (other.state is None):
        return "it writes, the reference reads" if target.state is None else "it reads, the reference writes"
    ours, theirs = _returned(other), _returned(target)
    if len(ours) != len(theirs):
        return f"{len(ours)} results, the reference has {len(theirs)}"
    budget, permuted = PairingBudget(), False
    for number in range(len(theirs)):
        comparison = _Comparison(reference, number, ours[number], theirs[number], budget, on_ties)
        why = comparison.difference(explains=explains)
        if why and why != COLUMN_ORDER:
            return why
        permuted |= bool(why)
    why = state.difference(target.state, other.state, budget) if target.state and other.state else None
    return why or (COLUMN_ORDER if permuted else None)


def _returned(run: Run) -> list[Result]:
    """The results that count: of statements that write, those with rows."""
    return run.results if run.state is None else [result for result in run.results if result.rows]


@dataclass(slots=True)
class _Comparison:
    """One result beside the reference's."""

    reference: Reference
    number: int
    ours: Result
    theirs: Result
    budget: PairingBudget
    on_ties: Callable[[], None]

    def difference(self, *, explains: bool) -> str | None:
        ours, theirs = self.ours, self.theirs
        if ours.width != theirs.width:
            return f"{ours.width} columns, the reference has {theirs.width}"
        if len(ours.rows) != len(theirs.rows):
            return f"{len(ours.rows)} rows, the reference has {len(theirs.rows)}"
        if same_sequence(ours.rows, theirs.rows):
            return None
        # Statements that only read return one result each; with writing ones among them no order is asked for.
        statement = self.reference.statements[self.number] if self.reference.run.state is None else ""
        has_order = ordering.has_outer(statement, "order")
        has_limit = has_order and ordering.has_outer(statement, "limit")

        def why_not(rows: list[Row]) -> str:
            with free_time():
                if not has_limit and not same_bag(rows, theirs.rows, self.budget):
                    return "other values"
            return "" if not has_order or self._is_in_order(rows) else WRONG_ORDER

        why = why_not(ours.rows)
        if not why or not explains:
            return why or None
        candidates = theirs.rows
        if has_limit and (orders := self.reference.orders(self.number)):
            candidates = [row for block in orders[-1] for row in block.rows]
        with free_time():
            if fit_in_another_order(ours.rows, candidates, lambda rows: not why_not(rows), self.budget):
                return COLUMN_ORDER
            return why if why == WRONG_ORDER else _other_values(ours, theirs)

    def _is_in_order(self, rows: list[Row]) -> bool:
        if same_sequence(rows, self.theirs.rows):
            return True
        orders = self.reference.orders(self.number, self.on_ties)
        with free_time():
            return any(ordering.allows(blocks, rows, self.budget) for blocks in orders)


def _other_values(ours: Result, theirs: Result) -> str:
    """What differs between two results of one size whose rows are no equal bags."""
    if len(ours.rows) > MOST_EXPLANATION_ROWS:
        return "other values"
    for i in range(ours.width):
        if not same_bag([(row[i],) for row in ours.rows], [(row[i],) for row in theirs.rows]):
            return f"other values in column {i + 1}"
    return "the same values in each column, in other rows"
