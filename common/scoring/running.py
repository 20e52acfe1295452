"""Running a reference or a completion on one database, and why two runs are no match."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.sandbox.database import Database
from common.sandbox.statements import Failure, Result, check, execute, run_queries, split
from common.scoring import ordering, state
from common.scoring.compare import same_bag, same_sequence

SEED = 1
OTHER_SEEDS = range(2, 10)  # several, since a choice among few rows may fall out the same twice
MOST_EXPLANATION_ROWS = 200


@dataclass(frozen=True)
class Run:
    """What a text's statements did: the results of those that return columns, and the database if any wrote.

    ticks: of the step counter, `guard.STEPS_BETWEEN_TICKS` steps each. volatile: see `Guard`.
    """

    results: list[Result]
    state: state.State | None
    uses_random: bool
    ticks: int
    volatile: bool


@dataclass
class Reference:
    """A reference that ran, and what its result allows."""

    statements: list[str]
    run: Run
    database: Database
    _blocks: dict[int, list[ordering.Block] | None] = field(default_factory=dict, repr=False)

    def blocks(self, number: int = 0) -> list[ordering.Block] | None:
        """Orders of a statement's rows that are as good as its own; None where only its own is. For one that reads."""
        if number not in self._blocks:
            statement, result = self.statements[number], self.run.results[number]
            self._blocks[number] = ordering.blocks_of(statement, result, self.database.reader, seed=SEED)
        return self._blocks[number]


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
    with database.copy() as handle:
        handle.guard.begin("write", seed=seed)
        results_or_none = [execute(handle, statement) for statement in statements]
        after = state.read(handle)  # a view may use random() too
        guard = handle.guard
        results = [result for result in results_or_none if result is not None]
        return Run(results, after, guard.uses_random, guard.ticks, guard.volatile)


def difference(reference: Reference, other: Run, on_ties: Callable[[], None] = lambda: None) -> str | None:
    """Why a run does not match the reference, in one line, or None where it does.

    on_ties: called before the reference's ties are followed, which runs it again.
    """
    target = reference.run
    if (target.state is None) != (other.state is None):
        return "it writes, the reference reads" if target.state is None else "it reads, the reference writes"
    if len(other.results) != len(target.results):
        return f"{len(other.results)} results, the reference has {len(target.results)}"
    # Statements that only read return one result each; with writing ones among them no order is asked for.
    statements = reference.statements if target.state is None else [""] * len(target.results)
    for number, (ours, theirs, statement) in enumerate(zip(other.results, target.results, statements, strict=True)):
        if ours.width != theirs.width:
            return f"{ours.width} columns, the reference has {theirs.width}"
        if len(ours.rows) != len(theirs.rows):
            return f"{len(ours.rows)} rows, the reference has {len(theirs.rows)}"
        if same_sequence(ours.rows, theirs.rows):
            continue
        has_order = ordering.has_outer(statement, "order")
        if not (has_order and ordering.has_outer(statement, "limit")) and not same_bag(ours.rows, theirs.rows):
            return _other_values(ours, theirs)
        if has_order:
            on_ties()
            blocks = reference.blocks(number)
            if blocks is None or not ordering.allows(blocks, ours.rows):
                return "rows in an order, or a choice of rows, that the reference's ORDER BY does not allow"
    return state.difference(target.state, other.state) if target.state and other.state else None


def _other_values(ours: Result, theirs: Result) -> str:
    """What differs between two results of one size whose rows are no equal bags."""
    if len(ours.rows) > MOST_EXPLANATION_ROWS:
        return "other values"
    for i in range(ours.width):
        if not same_bag([(row[i],) for row in ours.rows], [(row[i],) for row in theirs.rows]):
            return f"other values in column {i + 1}"
    return "the same values in each column, in other rows"
