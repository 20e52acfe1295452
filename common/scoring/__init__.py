"""Whether a completion answers its question: execution match under a stated policy, and the published metric.

A **match** means: the statement in the completion and the reference, each run on its own fresh copy of the database
with the clock frozen (2024-01-15 12:00:00 UTC) and random() seeded, gave the same result.

- Queries: the same rows as a bag, columns by position, names ignored, the same number of columns even without rows.
  In order only where the reference's outermost statement has ORDER BY; rows that tie under its keys may come in any
  order, and a block of ties that LIMIT or OFFSET cuts may hold any of its rows. Keys tie where they are the same value
  as below, floats within the tolerance (see `ordering` for chains and several keys). Where the keys cannot be followed
  (DISTINCT or a compound by something that is no column of the result) the plain sequence counts.
- What SQLite's own order of rows decides is the reference's: the parts of group_concat() without ORDER BY, the numbers
  that row_number() and other window functions give to rows that tie, LIMIT without ORDER BY. Another choice there is a
  mismatch, though the question may allow it.
- Values: integers exactly; a float within 1e-9 relative or 1e-12 absolute; 3 equals 3.0, '3' does not; NULL equals
  only NULL; a blob is no text; invalid UTF-8 is kept and equals only itself.
- Statements that write: equal RETURNING rows and equal databases afterwards (see `state`). RETURNING that returns no
  row is like none. What writes is decided by what SQLite was asked to do, not by the first word; a write never matches
  a query.
- One statement, or as many as the reference has; comments and stray semicolons are free. Double-quoted strings are
  allowed. A completion's think block, fences and prose are dropped first (`common.prompts.extract_sql`).
- A reference that fails, or gives another result when random() is seeded anew, or a schema that does not load, is
  **unscorable**: `match` is None, `score` is 0.0 so that it can be no reward, and every mean must leave the row out.

Columns in another order are no match, though some evaluators try every order; where nothing else is wrong, `detail` is
COLUMN_ORDER (looked for in results of up to 12 columns that are not large). Beyond the limits of the sandbox nothing is
scored: of an expression's depth that is SQLite's own, 1,000; of rows 10,000, of a table's rows after a write 20,000.

What a match does not mean: that the two are equivalent. One database is looked at, and a wrong query may agree on it
by luck: on data as small as a question's own, about every third near miss does. `both_empty` marks matches where
neither side returned rows, which is weak evidence (a write returns none unless it has RETURNING).

A **robust match** (`Scorer(databases=4)`) holds on the given database and on each generated one (`suites`): the same
policy, on rows that were chosen to part the reference from its near misses. It is the study's headline and its reward,
on databases of different seeds. It still is no proof: what neither the constants nor the kinds of rows bring out (a
rule of the schema's own, a rare combination) goes unseen, and the conservative generator by design accepts answers
that are right only as long as names are unique and gaps stay where they are. Where no database can be generated it is
the match itself, and `detail` says so.

**The published metric** is kept with its faults: the raw completion, one connection and cursor for schema, reference
and completion, the real clock, list equality, 1.0 or 0.7 × ROUGE-L. It runs inside the same sandbox, so what the
original would wait for, or would do to a file, is no match: a run that is killed, more steps than the sandbox allows
(2,000,000 on a small database), 100,000 rows, values of 1 MB (0.1 MB after the schema) or 64 MB of memory, ATTACH of a
file, and the few PRAGMAs that change the whole process.

Where it runs, what that covers and what not: `common.sandbox`. A verdict depends on no clock: the step budget decides,
and `timeout` is left for a statement that burns its CPU time (half a second on a small database) inside one step.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.scoring.scorer import Scorer, Verdict

__all__ = ["COLUMN_ORDER", "STRICT_ONLY", "Scorer", "Verdict"]
# A verdict's detail where nothing but the order of the columns keeps a completion from a match.
COLUMN_ORDER = "the reference's columns in another order"
# That of a robust match which rests on the given database alone.
STRICT_ONLY = "strict only: no database could be generated for this reference"


def __getattr__(name: str) -> Any:
    # Imported when asked for: a worker process needs only `judge`, and starts in half the time without the rest.
    if name in ("Scorer", "Verdict"):
        from common.scoring import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
