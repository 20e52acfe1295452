"""The same answers judged by other evaluators of the field, each restated here in a few lines.

| name | an answer is right where | after |
| --- | --- | --- |
| `published` | the raw completion returns the reference's list of rows | the published study; recorded |
| `strict` | bags agree, in order where the reference's outermost statement orders, ties free | this study; recorded |
| `robust` | it does so on generated databases too | this study; recorded |
| `set` | `set(rows)` is the reference's: duplicates and order do not count | BIRD (Li et al. 2023) |
| `bag` | bags agree with the columns in some order; in order if the reference orders | Spider (Zhong, Yu, Klein 2020) |
| `clauses` | the parse trees hold the same operations: `common.rewards.operations.overlap` is 1 | component match |
| `text` | the text is the reference's but for case, space, comments and the last semicolon | logical-form accuracy |

What is the originals' way in `set` and `bag`: values compare as Python's do (3 is 3.0, '3' is not, floats to the last
bit), NULL is NULL, names of columns do not count, two results without rows are equal whatever their columns, rows that
tie under ORDER BY have no freedom. `bag` looks for ORDER BY in the text, as its original does, so one within a window
or a subquery counts as well. Sources: BIRD, arXiv 2305.03111, and its evaluation script; Spider's execution match with
test suites, arXiv 2010.02840, github.com/taoyds/test-suite-sql-eval; logical-form accuracy, WikiSQL, arXiv 1709.00103.

What is not:

- All statements run in this study's sandbox, under its limits and its frozen clock, on the given database alone.
- The answer is the SQL taken out of the completion, as for `strict`; the originals take a line that is SQL already.
- A statement that writes is judged as by `strict`: the originals compare the empty results of any two writes.
- An answer that fails by `strict` (an error, a limit, several statements where the reference has one) is wrong.
- DISTINCT stays and no value of the reference is put into the answer: Spider's script offers both, the first unless it
  is told otherwise. It also mends operators that are parted by a space, as in `> =`.
- A search for the order of columns ends after `results.MOST_STEPS` steps; the original tries every one.
- `clauses` has this study's own operations, not the components of Spider's exact set match, and compares values.

A row whose reference cannot be scored has no verdict by any of them. None of these verdicts says that two statements
are equivalent.
"""

# The study's own first, then from those that look at rows to those that look at words.
EVALUATORS = ("robust", "strict", "published", "bag", "set", "clauses", "text")
RESTATED = ("bag", "set", "clauses", "text")
