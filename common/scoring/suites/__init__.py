"""Generated databases that a right answer must match on too: a wrong query agrees by luck on one, seldom on all.

A **suite** is a few small databases for one reference, made from the given database and from the constants of the
reference, and chosen because they part the reference from its near misses (`common.mutations.neighbours`).

- `conservative` (the default, for headline and reward) keeps to what the given rows suggest: no NULL where they have
  none, columns that name or number their rows stay unique, a child's key stays within its parent's, texts keep their
  format, no negative numbers where there are none. Where the given rows leave no tie at the cut of the reference's
  LIMIT, under a running total or at a MAX or MIN, these leave none. It guesses from few rows, so it still refuses some
  right answers and accepts some wrong ones: `bench/robust.py` says how many.
- `aggressive` (a diagnostic) keeps only what the schema declares. It refuses answers that rest on an unwritten rule.

A database on which the reference fails, or gives another result when its rows are stored in another order, is no part
of a suite: an answer cannot be blamed there. A reference may so be left with fewer databases than asked for, or none,
as one without tables. What is made is a pure function of schema (or file), reference, generator, seed and number, on
every machine; it does not depend on time.

Not covered: virtual tables, temporary tables, rows that triggers would have made (triggers are switched off while a
database is filled), correlations between columns other than keys.

`survey` reads the given database (`naming`, `formats` say what its columns are like, `links` which keys lead where),
`mentions` the reference; `values` makes a column's values, `filling` a database's rows, `workshop` tries them, with
near misses from `common.mutations` and `misses`, and `building` makes the suite, all in the worker. `store` keeps
suites on disk, in the parent.
"""

import base64
import zlib
from collections.abc import Iterable


def pack(images: Iterable[bytes]) -> list[str]:
    """The databases of a suite as texts."""
    return [base64.b64encode(zlib.compress(image, 6)).decode() for image in images]


def unpack(text: str) -> bytes:
    """One database of a packed suite: what `sqlite3.Connection.deserialize` takes."""
    return zlib.decompress(base64.b64decode(text))
