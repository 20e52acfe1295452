"""Columns of formatted texts: right answers that read them in another way stay right on generated databases."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import itertools

import pytest

from common.scoring import Scorer
from common.scoring.suites import store

# Values in turn, for 39 rows of `t (id, x)`.
FORMATS = {
    "year": [f"{1990 + n % 30}" for n in range(39)],
    "yyyymm": [f"{2012 + n % 3}{1 + n % 12:02}" for n in range(39)],
    "yyyymmdd": [f"{2019 + n % 4}{1 + n % 12:02}{1 + n % 28:02}" for n in range(39)],
    "us date": [f"{1 + n % 12:02}/{1 + n % 28:02}/{2019 + n % 4}" for n in range(39)],
    "dotted date": [f"{1 + n % 28:02}.{1 + n % 12:02}.{2019 + n % 4}" for n in range(39)],
    "slashed iso": [f"{2019 + n % 4}/{1 + n % 12:02}/{1 + n % 28:02}" for n in range(39)],
    "short date": [f"{1 + n % 12}/{1 + n % 28}/{2019 + n % 4}" for n in range(39)],
    "month name": [f"{('Jan', 'Feb', 'Mar', 'Apr', 'May')[n % 5]} {2019 + n % 4}" for n in range(39)],
    "season": [f"{2010 + n % 9}/{2011 + n % 9}" for n in range(39)],
    "time": [f"{n % 24:02}:{(7 * n) % 60:02}" for n in range(39)],
    "duration": [f"{n % 3}:{(7 * n) % 60:02}:{(11 * n) % 60:02}" for n in range(39)],
    "phone": [f"{('415', '617', '212')[n % 3]}-555-{1001 + n}" for n in range(39)],
    "bracketed phone": [f"({('415', '617', '212')[n % 3]}) 555-{1001 + n}" for n in range(39)],
    "mail": [f"user{n}@{('mail.org', 'site.net', 'acme.com')[n % 3]}" for n in range(39)],
    "named mail": [
        f"{('ann', 'bob', 'cy')[n % 3]}.{n}@{('mail.org', 'site.co.uk', 'acme.com')[n % 3]}" for n in range(39)
    ],
    "web": [f"https://{('mail.org', 'site.net', 'acme.com')[n % 3]}/p/{n}" for n in range(39)],
    "zip": [f"{10001 + 37 * n}" for n in range(39)],
    "zip and four": [f"{10001 + 37 * n}-{1000 + n}" for n in range(39)],
    "dollars": [f"${n + 1}.50" for n in range(39)],
    "percent": [f"{20 + n}%" for n in range(39)],
    "unit": [f"{100 + n} kg" for n in range(39)],
    "code": [f"{('INV', 'ORD', 'RET')[n % 3]}-{100 + n}" for n in range(39)],
    "flight": [f"{('AA', 'BA', 'LH')[n % 3]}{100 + n}" for n in range(39)],
    "currency": [("USD", "EUR", "GBP", "JPY", "CHF")[n % 5] for n in range(39)],
    "score": [f"{n % 5}-{n % 3}" for n in range(39)],
    "size": [f"{10 + n}x{20 + n}" for n in range(39)],
    "address": [f"192.168.{n % 4}.{n + 1}" for n in range(39)],
    "version": [f"v{n % 4}.{n % 7}" for n in range(39)],
    "full name": [f"{('Ann', 'Bob', 'Cy')[n % 3]} {('Gray', 'Hill', 'Kerr', 'Lund')[n % 4]}" for n in range(39)],
    "json": [f'{{"kind": "{("a", "b", "c")[n % 3]}", "n": {n}}}' for n in range(39)],
}
# Format, reference's condition or column, and another way to say the same.
SAME = [
    ("year", "SELECT id FROM t WHERE x > '2012'", "SELECT id FROM t WHERE CAST(x AS INTEGER) > 2012"),
    ("year", "SELECT id FROM t WHERE x >= 2012", "SELECT id FROM t WHERE CAST(x AS INTEGER) >= 2012"),
    ("year", "SELECT id FROM t WHERE x BETWEEN '2001' AND '2005'", "SELECT id FROM t WHERE CAST(x AS INT) >= 2001 AND CAST(x AS INT) <= 2005"),
    ("year", "SELECT max(x) FROM t", "SELECT x FROM t ORDER BY CAST(x AS INT) DESC LIMIT 1"),
    ("year", "SELECT id FROM t WHERE x LIKE '199%'", "SELECT id FROM t WHERE substr(x, 1, 3) = '199'"),
    ("yyyymm", "SELECT id FROM t WHERE substr(x, 1, 4) = '2013'", "SELECT id FROM t WHERE x BETWEEN '201301' AND '201312'"),
    ("yyyymm", "SELECT id FROM t WHERE x LIKE '2013%'", "SELECT id FROM t WHERE x >= '201301' AND x < '201401'"),
    ("yyyymm", "SELECT id FROM t WHERE substr(x, 5, 2) = '07'", "SELECT id FROM t WHERE x LIKE '____07'"),
    ("yyyymmdd", "SELECT id FROM t WHERE substr(x, 1, 6) = '202007'", "SELECT id FROM t WHERE CAST(x AS INT) BETWEEN 20200701 AND 20200731"),
    ("us date", "SELECT id FROM t WHERE substr(x, 7, 4) = '2021'", "SELECT id FROM t WHERE x LIKE '%/2021'"),
    ("us date", "SELECT id FROM t WHERE x LIKE '03/%'", "SELECT id FROM t WHERE substr(x, 1, 2) = '03'"),
    ("us date", "SELECT id FROM t WHERE substr(x, 7, 4) || '-' || substr(x, 1, 2) >= '2021-06'", "SELECT id FROM t WHERE CAST(substr(x, 7) AS INT) > 2021 OR (substr(x, 7) = '2021' AND CAST(x AS INT) >= 6)"),
    ("dotted date", "SELECT id FROM t WHERE substr(x, 7, 4) >= '2021'", "SELECT id FROM t WHERE CAST(substr(x, 7, 4) AS INT) >= 2021"),
    ("slashed iso", "SELECT id FROM t WHERE x >= '2021/01/01'", "SELECT id FROM t WHERE CAST(x AS INT) >= 2021"),
    ("short date", "SELECT id FROM t WHERE x LIKE '%/2021'", "SELECT id FROM t WHERE substr(x, -4) = '2021'"),
    ("month name", "SELECT id FROM t WHERE x LIKE '%2021'", "SELECT id FROM t WHERE substr(x, 5) = '2021'"),
    ("month name", "SELECT id FROM t WHERE x LIKE 'Mar%'", "SELECT id FROM t WHERE substr(x, 1, 3) = 'Mar'"),
    ("season", "SELECT id FROM t WHERE x LIKE '2012/%'", "SELECT id FROM t WHERE substr(x, 1, 4) = '2012'"),
    ("season", "SELECT id FROM t WHERE substr(x, 6) > '2014'", "SELECT id FROM t WHERE CAST(substr(x, 6, 4) AS INT) >= 2015"),
    ("time", "SELECT id FROM t WHERE strftime('%H', x) = '09'", "SELECT id FROM t WHERE substr(x, 1, 2) = '09'"),
    ("time", "SELECT id FROM t WHERE x >= '09:00' AND x < '10:00'", "SELECT id FROM t WHERE x LIKE '09:%'"),
    ("time", "SELECT id FROM t WHERE x > '12:30'", "SELECT id FROM t WHERE time(x) > '12:30:00'"),
    ("duration", "SELECT id FROM t WHERE x LIKE '2:%'", "SELECT id FROM t WHERE CAST(substr(x, 1, 1) AS INT) = 2"),
    ("phone", "SELECT id FROM t WHERE substr(x, 1, 3) = '212'", "SELECT id FROM t WHERE x LIKE '212-%'"),
    ("phone", "SELECT id FROM t WHERE x LIKE '415%'", "SELECT id FROM t WHERE substr(x, 1, instr(x, '-') - 1) = '415'"),
    ("bracketed phone", "SELECT id FROM t WHERE x LIKE '(212)%'", "SELECT id FROM t WHERE substr(x, 2, 3) = '212'"),
    ("mail", "SELECT id FROM t WHERE substr(x, instr(x, '@') + 1) = 'acme.com'", "SELECT id FROM t WHERE x LIKE '%@acme.com'"),
    ("mail", "SELECT id FROM t WHERE x LIKE '%acme.com'", "SELECT id FROM t WHERE substr(x, instr(x, '@')) = '@acme.com'"),
    ("named mail", "SELECT id FROM t WHERE x LIKE '%@acme.com'", "SELECT id FROM t WHERE substr(x, instr(x, '@') + 1) = 'acme.com'"),
    ("web", "SELECT id FROM t WHERE x LIKE 'https://acme.com/%'", "SELECT id FROM t WHERE substr(x, 9, 8) = 'acme.com'"),
    ("zip", "SELECT id FROM t WHERE x > '10500'", "SELECT id FROM t WHERE CAST(x AS INT) > 10500"),
    ("zip", "SELECT id FROM t WHERE x LIKE '10%'", "SELECT id FROM t WHERE substr(x, 1, 2) = '10'"),
    ("zip and four", "SELECT id FROM t WHERE substr(x, 1, 5) = '10075'", "SELECT id FROM t WHERE x LIKE '10075-%'"),
    ("dollars", "SELECT id FROM t WHERE CAST(substr(x, 2) AS REAL) > 12", "SELECT id FROM t WHERE CAST(replace(x, '$', '') AS REAL) > 12"),
    ("percent", "SELECT id FROM t WHERE CAST(replace(x, '%', '') AS INT) >= 45", "SELECT id FROM t WHERE CAST(x AS INT) >= 45"),
    ("unit", "SELECT sum(CAST(x AS INT)) FROM t", "SELECT sum(CAST(replace(x, ' kg', '') AS INT)) FROM t"),
    ("code", "SELECT id FROM t WHERE x LIKE 'INV-%'", "SELECT id FROM t WHERE substr(x, 1, 3) = 'INV'"),
    ("code", "SELECT max(CAST(substr(x, 5) AS INT)) FROM t", "SELECT max(substr(x, instr(x, '-') + 1) + 0) FROM t"),
    ("flight", "SELECT id FROM t WHERE x LIKE 'BA%'", "SELECT id FROM t WHERE substr(x, 1, 2) = 'BA'"),
    ("flight", "SELECT id FROM t WHERE CAST(substr(x, 3) AS INT) > 120", "SELECT id FROM t WHERE substr(x, 3) > '120'"),
    ("currency", "SELECT id FROM t WHERE x LIKE 'E%'", "SELECT id FROM t WHERE substr(x, 1, 1) = 'E'"),
    ("score", "SELECT id FROM t WHERE substr(x, 1, 1) = substr(x, 3, 1)", "SELECT id FROM t WHERE substr(x, 1, instr(x, '-') - 1) = substr(x, instr(x, '-') + 1)"),
    ("size", "SELECT id FROM t WHERE CAST(x AS INT) > 30", "SELECT id FROM t WHERE CAST(substr(x, 1, instr(x, 'x') - 1) AS INT) > 30"),
    ("address", "SELECT id FROM t WHERE x LIKE '192.168.2.%'", "SELECT id FROM t WHERE substr(x, 1, 10) = '192.168.2.'"),
    ("version", "SELECT id FROM t WHERE x LIKE 'v2.%'", "SELECT id FROM t WHERE substr(x, 2, 1) = '2'"),
    ("full name", "SELECT id FROM t WHERE x LIKE '% Hill'", "SELECT id FROM t WHERE substr(x, instr(x, ' ') + 1) = 'Hill'"),
    ("json", "SELECT id FROM t WHERE json_extract(x, '$.kind') = 'b'", "SELECT id FROM t WHERE x LIKE '%\"kind\": \"b\"%'"),
]  # fmt: skip
# Format, reference, and a wrong answer that the given rows take for right.
WRONG = [
    ("year", "SELECT id FROM t WHERE x > '2012'", "SELECT id FROM t WHERE x IN ('2013', '2014', '2015', '2016', '2017', '2018', '2019')"),
    ("yyyymm", "SELECT id FROM t WHERE substr(x, 1, 4) = '2013'", "SELECT id FROM t WHERE x BETWEEN '201302' AND '201311'"),
    ("us date", "SELECT id FROM t WHERE substr(x, 7, 4) = '2022'", "SELECT id FROM t WHERE substr(x, 7, 4) >= '2022'"),
    ("time", "SELECT id FROM t WHERE x >= '23:20'", "SELECT id FROM t WHERE x LIKE '23:%'"),
    ("phone", "SELECT id FROM t WHERE x LIKE '212-%'", "SELECT id FROM t WHERE substr(x, 1, 1) = '2'"),
    ("mail", "SELECT id FROM t WHERE x LIKE '%@acme.com'", "SELECT id FROM t WHERE id % 3 = 2"),
    ("code", "SELECT id FROM t WHERE x LIKE 'INV-%'", "SELECT id FROM t WHERE id % 3 = 0"),
]  # fmt: skip


def row(form: str, reference: str, prediction: str, rows: int = 39) -> dict[str, str]:
    cells = itertools.islice(enumerate(FORMATS[form]), rows)
    values = ", ".join("({}, '{}')".format(n, text.replace("'", "''")) for n, text in cells)
    schema = f"CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t VALUES {values};"
    return {"schema": schema, "reference": reference, "prediction": prediction}


def suite_size(case: dict[str, str], seed: int) -> int:
    """How many databases a reference has in the store, after it was scored."""
    key = store.key(case["schema"], "", case["reference"], number=4, generator="conservative", seed=seed)
    return len(store.read([key]).get(key, []))


@pytest.mark.parametrize("seed", [0, 1])
def test_another_reading_of_a_formatted_text_stays_right(seed):
    with Scorer(workers=2, databases=4, seed=seed) as scorer:
        verdicts = scorer.score_batch(row(*case) for case in SAME)
    assert [case for case, v in zip(SAME, verdicts, strict=True) if not v.match] == []
    assert [(case, v.detail) for case, v in zip(SAME, verdicts, strict=True) if not v.robust_match] == []
    assert [case for case in SAME if suite_size(row(*case), seed) < 4] == []


def test_a_wrong_reading_of_a_formatted_text_is_refused():
    with Scorer(workers=2, databases=4) as scorer:
        verdicts = scorer.score_batch(row(*case) for case in WRONG)
    assert [case for case, v in zip(WRONG, verdicts, strict=True) if not v.match] == []
    assert [case for case, v in zip(WRONG, verdicts, strict=True) if v.robust_match] == []
