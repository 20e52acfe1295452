"""Cases of test_hostile.py: sort keys that are equal within the tolerance tie, and none else do."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

from tests.unit.cases import cases

SALE = "CREATE TABLE sale (shop TEXT, item TEXT, amount REAL); INSERT INTO sale VALUES ('a', 'x', 0.1), ('a', 'y', 0.2), ('b', 'x', 0.3), ('c', 'x', 0.05);"
PRICES = (
    "CREATE TABLE w (shop TEXT, qty INT, price REAL); INSERT INTO w VALUES ('a', 3, 0.1), ('b', 1, 0.3), ('c', 1, 0.2);"
)
BITS = "CREATE TABLE d (k TEXT, v REAL); INSERT INTO d VALUES ('a', 0.30000000000000004), ('b', 0.3);"


def numbers(*values: object, kind: str = "REAL") -> str:
    """A table t of rows named a, b, c, … with a value each."""
    rows = ", ".join(f"('{chr(97 + i)}', {value})" for i, value in enumerate(values))
    return f"CREATE TABLE t (k TEXT, v {kind}); INSERT INTO t VALUES {rows};"


def in_order(names: str) -> str:
    return " UNION ALL ".join(f"SELECT '{name}'" for name in names)


SUMS = "SELECT shop, SUM(amount) FROM sale GROUP BY shop ORDER BY"
BY_V = "SELECT k FROM t ORDER BY v"
CHAIN = numbers(1.0, "1.0 + 0.8e-9", "1.0 + 1.6e-9")
LONG_CHAIN = numbers(*(f"1.0 + {i} * 0.4e-9" for i in range(7)))  # each ties with two before it and two behind
MINUTES = numbers(*(f"'2024-01-15 10:{i:02}:00'" for i in range(20)), kind="TEXT")  # four minutes of them tie
# Near firsts, ordered by a second key: exact keys say b (0.3), a; by keys with a tolerance it is a, b.
TWO_KEYS = (
    "CREATE TABLE t (k TEXT, v REAL, n INT); INSERT INTO t VALUES ('a', 0.1 + 0.2, 1), ('b', 0.3, 2), ('c', 9, 0);"
)
# The same where both say b, a.
ALIKE = "CREATE TABLE t (k TEXT, v REAL, n INT); INSERT INTO t VALUES ('a', 0.1 + 0.2, 2), ('b', 0.3, 1), ('c', 9, 0);"
BY_BOTH = "SELECT k FROM t ORDER BY v, n"
TIES = cases(
    ("near sums that LIMIT cuts", SUMS + " 2 DESC LIMIT 1", "SELECT shop, ROUND(SUM(amount), 2) AS s FROM sale GROUP BY shop ORDER BY s DESC, shop DESC LIMIT 1", "match", SALE),
    ("near sums that LIMIT cuts, a lower one", SUMS + " 2 DESC LIMIT 1", "SELECT 'c', 0.05", "mismatch", SALE),
    ("near sums that LIMIT cuts, its first twice", SUMS + " 2 DESC LIMIT 2", "VALUES ('a', 0.3), ('a', 0.3)", "mismatch", SALE),
    ("near sums in full", SUMS + " SUM(amount)", "VALUES ('c', 0.05), ('a', 0.3), ('b', 0.3)", "match", SALE),
    ("near sums in full, the lowest last", SUMS + " SUM(amount)", "VALUES ('a', 0.3), ('b', 0.3), ('c', 0.05)", "mismatch", SALE),
    ("near sums behind an OFFSET", SUMS + " 2 DESC LIMIT 1 OFFSET 1", "SELECT 'a', 0.3", "match", SALE),
    ("near sums behind an OFFSET that passes them", SUMS + " 2 DESC LIMIT 1 OFFSET 2", "SELECT 'a', 0.3", "mismatch", SALE),
    ("near sums by an alias", "SELECT shop, SUM(amount) AS s FROM sale GROUP BY shop ORDER BY s DESC LIMIT 1", "SELECT 'b', 0.3", "match", SALE),
    ("near sums of a query inside", "SELECT shop FROM (SELECT shop, SUM(amount) AS s FROM sale GROUP BY shop) ORDER BY s DESC LIMIT 1", "SELECT 'b'", "match", SALE),
    ("near sums of a CTE", "WITH s AS (SELECT shop, SUM(amount) AS s FROM sale GROUP BY shop) SELECT shop FROM s ORDER BY s DESC LIMIT 1", "SELECT 'b'", "match", SALE),
    ("near averages times counts", "SELECT shop FROM sale GROUP BY shop ORDER BY AVG(amount) * COUNT(*) DESC", "SELECT 'b' UNION ALL SELECT 'a' UNION ALL SELECT 'c'", "match", SALE),
    ("near products", "SELECT shop FROM w ORDER BY qty * price DESC LIMIT 1", "SELECT shop FROM w ORDER BY price * 10 * qty DESC, shop DESC LIMIT 1", "match", PRICES),
    ("near products, below zero", "SELECT shop FROM w ORDER BY -qty * price LIMIT 1", "SELECT 'b'", "match", PRICES),
    ("near stored values", "SELECT k FROM d ORDER BY v DESC", "SELECT 'b' UNION ALL SELECT 'a'", "match", BITS),
    ("near stored values, shown", "SELECT k, v FROM d ORDER BY v", "VALUES ('a', 0.3), ('b', 0.3)", "match", BITS),
    ("near stored values, DISTINCT", "SELECT DISTINCT k, v FROM d ORDER BY v DESC LIMIT 1", "SELECT 'b', 0.3", "match", BITS),
    ("near values, DISTINCT by an expression", "SELECT DISTINCT k, v FROM d ORDER BY v * 3 DESC LIMIT 1", "SELECT 'b', 0.3", "match", BITS),
    ("near values of a compound", "SELECT k, v FROM d WHERE k = 'a' UNION ALL SELECT k, v FROM d WHERE k = 'b' ORDER BY 2 DESC LIMIT 1", "SELECT 'b', 0.3", "match", BITS),
    ("near values of a UNION by an alias", "SELECT k, v AS x FROM d UNION SELECT 'z', 5.0 ORDER BY x LIMIT 2", "VALUES ('a', 0.3), ('b', 0.3)", "match", BITS),
    ("near values of a window's sum", "SELECT k FROM d ORDER BY sum(v) OVER (PARTITION BY k) DESC LIMIT 1", "SELECT 'b'", "match", BITS),
    ("numbers that a window counted are whole", "SELECT k FROM d ORDER BY rank() OVER (ORDER BY v DESC) LIMIT 1", "SELECT 'b'", "mismatch", BITS),
    ("near values behind +", "SELECT k FROM d ORDER BY +v DESC LIMIT 1", "SELECT 'b'", "match", BITS),
    ("near values, a key in parentheses", "SELECT k FROM d ORDER BY (v) DESC LIMIT 1", "SELECT 'b'", "match", BITS),
    ("near values, a CASE", "SELECT k FROM d ORDER BY CASE WHEN k > '' THEN v ELSE 0 END DESC LIMIT 1", "SELECT 'b'", "match", BITS),
    ("near values, a key of a query", "SELECT k FROM d ORDER BY (SELECT max(e.v) FROM d e WHERE e.k = d.k) DESC LIMIT 1", "SELECT 'b'", "match", BITS),
    ("near values, NULLS FIRST", "SELECT k FROM t ORDER BY v DESC NULLS FIRST", in_order("cba"), "match", numbers(0.3, "0.1 + 0.2", "NULL")),
    ("near values, NULL elsewhere", "SELECT k FROM t ORDER BY v DESC NULLS FIRST", in_order("bac"), "mismatch", numbers(0.3, "0.1 + 0.2", "NULL")),
    ("near zero", BY_V, in_order("ba"), "match", numbers(0.0, 5e-13)),
    ("near zero from below", BY_V, in_order("ba"), "match", numbers(-5e-13, 0.0)),
    ("beyond the absolute tolerance", BY_V, in_order("ba"), "mismatch", numbers(0.0, 2e-12)),
    ("within the relative tolerance", BY_V, in_order("ba"), "match", numbers(1e15, "1e15 + 1000")),
    ("beyond the relative tolerance", BY_V, in_order("ba"), "mismatch", numbers(1.0, 1.000001)),
    ("just beyond the relative tolerance", BY_V, in_order("ba"), "mismatch", numbers(1.0, 1.000000002)),
    ("infinite values", BY_V, in_order("ba"), "match", numbers("9e999", "9e999")),
    ("an infinite value and a large one", BY_V, in_order("ba"), "mismatch", numbers(1e308, "9e999")),
    ("integers are exact", BY_V, in_order("ba"), "mismatch", numbers(10**15, 10**15 + 1, kind="INT")),
    ("an integer near a float", "SELECT k FROM t ORDER BY v", in_order("ba"), "match", numbers(3, "3.0 + 4e-16 * 2", kind="")),
    ("a large integer near a float", BY_V, in_order("ba"), "match", numbers(10**15, "1e15 + 0.5", kind="")),
    ("a large integer equal to a float", BY_V, in_order("ba"), "match", numbers(2**53, "9007199254740992.0", kind="")),
    ("texts like near numbers", BY_V, in_order("ba"), "mismatch", numbers("'0.30000000000000001'", "'0.30000000000000002'", kind="TEXT")),
    ("texts like near numbers, cast", "SELECT k FROM t ORDER BY CAST(v AS REAL)", in_order("ba"), "match", numbers("'0.3'", "'0.30000000000000004'", kind="TEXT")),
    ("a chain of near values, the first two swapped", BY_V, in_order("bac"), "match", CHAIN),
    ("a chain of near values, the last two swapped", BY_V, in_order("acb"), "match", CHAIN),
    ("a chain of near values, its ends are no ties", BY_V, in_order("cab"), "mismatch", CHAIN),
    ("a chain of near values, the other way round", BY_V, in_order("cba"), "mismatch", CHAIN),
    ("a chain that LIMIT cuts, its second", BY_V + " LIMIT 1", in_order("b"), "match", CHAIN),
    ("a chain that LIMIT cuts, its third", BY_V + " LIMIT 1", in_order("c"), "mismatch", CHAIN),
    ("a chain behind an OFFSET, its first", BY_V + " LIMIT 1 OFFSET 1", in_order("a"), "match", CHAIN),
    ("a chain behind an OFFSET, its third", BY_V + " LIMIT 1 OFFSET 1", in_order("c"), "match", CHAIN),
    ("a chain behind a longer OFFSET, its first", BY_V + " LIMIT 1 OFFSET 2", in_order("a"), "mismatch", CHAIN),
    ("a chain of rows that are equal", "SELECT 'x' FROM t ORDER BY v", in_order("xxx"), "match", CHAIN),
    ("a long chain, neighbours swapped", BY_V, in_order("bdacfeg"), "match", LONG_CHAIN),
    ("a long chain, one row too far", BY_V, in_order("bcdaefg"), "mismatch", LONG_CHAIN),
    ("a long chain, the other way round", BY_V, in_order("gfedcba"), "mismatch", LONG_CHAIN),
    ("a chain with a gap is two", BY_V, in_order("cab"), "mismatch", numbers(1.0, "1.0 + 0.8e-9", "1.0 + 2.6e-9")),
    ("minutes as julian days, in order", "SELECT k FROM t ORDER BY julianday(v)", "SELECT k FROM t ORDER BY v", "match", MINUTES),
    ("minutes as julian days, the other way round", "SELECT k FROM t ORDER BY julianday(v)", "SELECT k FROM t ORDER BY v DESC", "mismatch", MINUTES),
    ("minutes as julian days, the last of them", "SELECT k FROM t ORDER BY julianday(v) LIMIT 1", "SELECT k FROM t ORDER BY v DESC LIMIT 1", "mismatch", MINUTES),
    ("a long chain of a first key counts exactly", "SELECT k FROM t ORDER BY julianday(v), k", "SELECT k FROM t ORDER BY v, k DESC", "match", MINUTES),
    ("a long chain of a first key, its ties by the second", "SELECT k FROM t ORDER BY julianday(v), k", "SELECT k FROM t ORDER BY v, k DESC", "mismatch", MINUTES.replace(":07", ":06")),
    ("blocks beside each other", BY_V, in_order("badc"), "match", numbers(0.3, "0.1 + 0.2", 0.6, "0.3 + 0.1 + 0.2")),
    ("blocks beside each other, mixed", BY_V, in_order("acbd"), "mismatch", numbers(0.3, "0.1 + 0.2", 0.6, "0.3 + 0.1 + 0.2")),
    ("two keys, the order by exact ones", BY_BOTH, in_order("bac"), "match", TWO_KEYS),
    ("two keys, the order by ones with a tolerance", BY_BOTH, in_order("abc"), "match", TWO_KEYS),
    ("two keys, as rounded", BY_BOTH, "SELECT k FROM t ORDER BY round(v, 6), n", "match", TWO_KEYS),
    ("two keys, cut by LIMIT", BY_BOTH + " LIMIT 1", in_order("a"), "match", TWO_KEYS),
    ("two keys, cut by LIMIT, neither", BY_BOTH + " LIMIT 1", in_order("c"), "mismatch", TWO_KEYS),
    ("two keys, an order by neither", BY_BOTH, in_order("cab"), "mismatch", TWO_KEYS),
    ("two keys, both orders alike", BY_BOTH, in_order("bac"), "match", ALIKE),
    ("two keys, both orders alike, another", BY_BOTH, in_order("abc"), "mismatch", ALIKE),
    ("two keys, both orders alike, cut by LIMIT", BY_BOTH + " LIMIT 1", in_order("a"), "mismatch", ALIKE),
    ("two keys, one of them down", "SELECT k FROM t ORDER BY v DESC, n DESC", "SELECT k FROM t ORDER BY round(v, 6) DESC, n DESC", "match", ALIKE),
    ("two keys, the second one near", "SELECT k FROM t ORDER BY n IS NULL, v", in_order("abc"), "match", TWO_KEYS),
    ("two keys, the second one near, across the first", "SELECT k FROM t ORDER BY n > 1, v", in_order("bac"), "mismatch", TWO_KEYS),
    ("two keys, a text and a near one", "SELECT k FROM t ORDER BY upper(k) < 'C' COLLATE NOCASE DESC, v DESC", in_order("bac"), "match", TWO_KEYS),
    ("two keys, a collation before a near one", "SELECT k FROM t ORDER BY 'X' || (n > 5) COLLATE NOCASE, v", in_order("abc"), "match", TWO_KEYS),
    ("two keys, exact floats tie and the second counts", BY_BOTH, in_order("ba"), "mismatch", "CREATE TABLE t (k TEXT, v REAL, n INT); INSERT INTO t VALUES ('a', 0.3, 1), ('b', 0.3, 2);"),
    ("three keys, near ones at both ends", "SELECT k FROM t ORDER BY v, n * 0, v * 3", in_order("abc"), "match", TWO_KEYS),
)  # fmt: skip
