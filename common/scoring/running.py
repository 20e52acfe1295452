"""Running a reference or a completion on one database, and why two runs are no match."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.sandbox.database import Database
from common.sandbox.statements import Failure, Result, check, execute, run_reading, split
from common.scoring import ordering, state
from common.scoring.compare import same_bag, same_sequence

SEED = 1
OTHER_SEEDS = range(2, 10)  # several, since a choice among few rows may fall out the same twice
MOST_ROWS_EXPLAINED = 200


@dataclass(frozen=True)
class Run:
    """What a text's statements did: the results of those that return columns, and the database if any wrote.

    ticks: of the step counter, `guard.STEPS_BETWEEN_TICKS` steps each. moved: see `Guard`.
    """

    results: list[Result]
    state: state.State | None
    used_random: bool
    ticks: int
    moved: bool


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


def parted(sql: str) -> list[str]:
    """The statements of a text that SQLite can be given. Raises Failure."""
    check(sql)
    return split(sql)


def first_run(database: Database, sql: str) -> Reference:
    """Run a reference. Raises Failure with outcome reference_error or reference_nondeterministic."""
    try:
        statements = parted(sql)
        if not statements:
            raise Failure("reference_error", "no statement")
        reference = Reference(statements, run(database, statements), database)
        # With the clock frozen nothing but random() can change a result; other seeds show whether it does.
        for seed in OTHER_SEEDS if reference.run.used_random else ():
            if difference(reference, run(database, statements, seed=seed)):
                raise Failure("reference_nondeterministic", "the result depends on random()")
    except Failure as error:
        if error.outcome == "reference_nondeterministic":
            raise
        raise Failure("reference_error", f"the reference fails: {error.detail}") from error
    return reference


def run(database: Database, statements: list[str], *, seed: int = SEED) -> Run:
    """Run statements on the shared connection where they only read, else on a copy of their own. Raises Failure."""
    results = run_reading(database, statements, seed=seed)
    if results is not None:
        guard = database.reader.guard
        return Run(results, None, guard.used_random, guard.ticks, guard.moved)
    with database.copy() as opened:
        opened.guard.begin("write", seed=seed)
        found = [execute(opened, statement) for statement in statements]
        after = state.read(opened)  # a view may use random() too
        guard = opened.guard
        results = [result for result in found if result is not None]
        return Run(results, after, guard.used_random, guard.ticks, guard.moved)


def difference(reference: Reference, ran: Run, on_ties: Callable[[], None] = lambda: None) -> str | None:
    """Why a run does not match the reference, in one line, or None where it does.

    on_ties: called before the reference's ties are followed, which runs it again.
    """
    expected = reference.run
    if (expected.state is None) != (ran.state is None):
        return "it writes, the reference reads" if expected.state is None else "it reads, the reference writes"
    if len(ran.results) != len(expected.results):
        return f"{len(ran.results)} results, the reference has {len(expected.results)}"
    # Statements that only read return one result each; with writing ones among them no order is asked for.
    statements = reference.statements if expected.state is None else [""] * len(expected.results)
    for number, (ours, theirs, statement) in enumerate(zip(ran.results, expected.results, statements, strict=True)):
        if ours.width != theirs.width:
            return f"{ours.width} columns, the reference has {theirs.width}"
        if len(ours.rows) != len(theirs.rows):
            return f"{len(ours.rows)} rows, the reference has {len(theirs.rows)}"
        if same_sequence(ours.rows, theirs.rows):
            continue
        ordered = ordering.has_outer(statement, "order")
        if not (ordered and ordering.has_outer(statement, "limit")) and not same_bag(ours.rows, theirs.rows):
            return _other_values(ours, theirs)
        if ordered:
            on_ties()
            blocks = reference.blocks(number)
            if blocks is None or not ordering.allows(blocks, ours.rows):
                return "rows in an order, or a choice of rows, that the reference's ORDER BY does not allow"
    return state.difference(expected.state, ran.state) if expected.state and ran.state else None


def _other_values(ours: Result, theirs: Result) -> str:
    """What differs between two results of one size whose rows are no equal bags."""
    if len(ours.rows) > MOST_ROWS_EXPLAINED:
        return "other values"
    for i in range(ours.width):
        if not same_bag([(row[i],) for row in ours.rows], [(row[i],) for row in theirs.rows]):
            return f"other values in column {i + 1}"
    return "the same values in each column, in other rows"
