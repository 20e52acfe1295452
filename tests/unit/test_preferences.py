"""Near misses of references, kinds of errors, and which candidates count as right and which as wrong.

The scorer is the real one, on small invented databases. Not covered: how answers meet in pairs
(test_preferences_pairs), samples of a model, and remote models.
"""

import time
from collections import Counter
from dataclasses import replace

import pytest

from common.data import Example, load_examples
from common.mutations import neighbours
from common.preferences import certification
from common.preferences.candidates import GROQ, MUTATION, REFERENCE, SAMPLED, Candidate, is_rendering, mutated, normal
from common.preferences.certification import certify
from common.preferences.errors import KINDS, error_kind
from common.scoring import Scorer
from common.scoring.scorer import EVALUATION_SEED, REWARD_SEED

SCHEMA = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');"
REFERENCE_SQL = "SELECT b FROM t WHERE a > 1;"


def example(sql: str = REFERENCE_SQL, *, id: str = "q", schema: str = SCHEMA) -> Example:
    return Example(id=id, question="Which b?", schema=schema, sql=sql)


# --- near misses ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return load_examples("embedded", "post", limit=40)


def by_example(candidates) -> dict[str, list[Candidate]]:
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.example, []).append(candidate)
    return groups


def test_near_misses_depend_on_the_seed_and_their_example_alone(examples):
    misses = mutated(examples, most=3, seed=1)
    alone = [miss for each in reversed(examples) for miss in mutated([each], most=3, seed=1)]
    assert misses and misses == mutated(examples, most=3, seed=1)
    assert by_example(alone) == by_example(misses)
    assert [miss.example for miss in misses] == sorted(miss.example for miss in misses)  # in the examples' order
    others = by_example(mutated(examples, most=3, seed=2))
    assert sum(others.get(name) != group for name, group in by_example(misses).items()) > len(examples) / 2


def test_fewer_near_misses_are_the_first_of_more(examples):
    for most in (0, 1, 3):
        groups = by_example(mutated(examples, most=100, seed=1))
        assert by_example(mutated(examples, most=most, seed=1)) == {
            name: group[:most] for name, group in groups.items() if most
        }


def test_an_operator_comes_again_when_all_others_have_come_as_often(examples):
    for each in examples:
        misses = mutated([each], most=10_000, seed=1)
        sizes, counts = Counter(miss.origin for miss in misses), Counter()
        assert sizes.keys() <= {miss.operator for miss in neighbours(each.sql)}
        for miss in misses:
            left = [operator for operator in sizes if counts[operator] < sizes[operator]]
            assert counts[miss.origin] == min(counts[operator] for operator in left)
            counts[miss.origin] += 1


def test_a_near_miss_is_never_the_reference_and_comes_once(examples):
    by_id = {each.id: each for each in examples}
    misses = mutated(examples, most=100, seed=1)
    assert {miss.source for miss in misses} == {MUTATION}
    assert all(normal(miss.completion) != normal(by_id[miss.example].sql) for miss in misses)
    assert len({(miss.example, miss.completion) for miss in misses}) == len(misses)


@pytest.mark.parametrize(
    ("sql", "is_written_so"),
    [
        ("SELECT b FROM t WHERE a > 1;", True),
        ("SELECT b\nFROM t\n  WHERE a > 1 ;\n", True),
        ("SELECT b FROM t WHERE a <> 1;", True),
        ("SELECT b FROM t WHERE b = 'two  spaces'", True),
        ("INSERT INTO t VALUES (4, 'w'); SELECT b FROM t;", True),
        ("SELECT b FROM t WHERE a != 1;", False),
        ("select b from t where a > 1;", False),
        ("SELECT b FROM t WHERE NOT a IS NULL AND b IS NOT NULL;", False),
        ("SELECT b FROM t -- all of them", False),
        ("SELECT b FROM (", False),
        ("SELECT " + "(" * 5_000 + "1" + ")" * 5_000, False),
        ("", False),
    ],
)
def test_only_a_reference_in_the_parsers_own_style_has_near_misses(sql, is_written_so):
    assert is_rendering(sql) is (is_written_so or sql == "")
    assert bool(mutated([example(sql)], most=2, seed=1)) is is_written_so


@pytest.mark.parametrize("other", ["SELECT  b\n\tFROM t ", "SELECT b FROM t;", "SELECT b FROM t ;\n;"])
def test_white_space_between_words_and_the_end_do_not_matter(other):
    assert normal(other) == normal("SELECT b FROM t")


def test_white_space_and_case_in_a_string_matter():
    assert normal("SELECT 'a b'") != normal("SELECT 'A b'")
    assert normal("SELECT 'a b'") != normal("SELECT 'a  b'")


# --- kinds of errors ------------------------------------------------------------------------------------------------

ONE = "SELECT a FROM t WHERE b = 'X' GROUP BY a HAVING COUNT(*) > 1 ORDER BY a LIMIT 2"
PART = "WITH q AS (SELECT a, b FROM t) SELECT a FROM q"


@pytest.mark.parametrize(
    ("reference", "statement", "kind"),
    [
        (ONE, ONE.replace("FROM t", "FROM u").replace("'X'", "'Y'"), "tables"),
        (ONE, ONE.replace("FROM t", "FROM t JOIN u ON t.a = u.a"), "tables"),
        ("SELECT a FROM t JOIN u ON t.a = u.a", "SELECT a FROM t LEFT JOIN u ON t.a = u.a", "tables"),
        ("SELECT a FROM t JOIN t AS o ON t.a = o.b", "SELECT a FROM t", "tables"),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u)", "SELECT a FROM t WHERE a IN (SELECT a FROM v)", "tables"),
        (ONE, ONE.replace("b = 'X'", "b = 'Y'").replace("SELECT a", "SELECT b"), "filter"),
        (ONE, ONE.replace("'X'", "'x'"), "filter"),
        (ONE, ONE.replace("HAVING COUNT(*) > 1 ", "").replace(" LIMIT 2", ""), "grouping"),
        (ONE, ONE.replace("SELECT a", "SELECT b").replace("LIMIT 2", "LIMIT 3"), "columns"),
        (ONE, ONE.replace("SELECT", "SELECT DISTINCT"), "columns"),
        ("SELECT 'x' FROM t", "SELECT 'X' FROM t", "columns"),
        (ONE, ONE.replace("ORDER BY a", "ORDER BY a DESC"), "order"),
        (ONE, ONE.replace("LIMIT 2", "LIMIT 2 OFFSET 1"), "order"),
        (ONE, ONE.replace(" ORDER BY a LIMIT 2", ""), "order"),
        ("SELECT a FROM t UNION SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u", "set operation"),
        ("SELECT a FROM t", "SELECT a FROM t EXCEPT SELECT a FROM u", "set operation"),
        ("DELETE FROM t WHERE a = 1", "DELETE FROM t WHERE a = 2", "change"),
        ("SELECT a FROM t", "DELETE FROM t", "change"),
        ("SELECT a FROM t", "select A from T;", "other"),
        (ONE, ONE, "other"),
        # Of a CTE, a clause of the query that reads it, or its tables; its body is no clause.
        (PART, PART + " WHERE a > 1", "filter"),
        (PART, PART.replace("FROM t", "FROM u"), "tables"),
        (PART, PART + " ORDER BY a", "order"),
        (PART, PART.replace("FROM t", "FROM t WHERE a > 1"), "other"),
        # No statement that the parser reads.
        ("SELECT a FROM t", "SELECT a FROM (", "other"),
        ("SELECT a FROM t", "I do not know.", "other"),
        ("SELECT a FROM t", "", "other"),
    ],
)
def test_the_first_clause_that_differs_is_the_error(reference, statement, kind):
    assert error_kind(reference, statement, "mismatch") == kind
    assert kind in KINDS


@pytest.mark.parametrize(
    "outcome", ["syntax_error", "schema_error", "runtime_error", "forbidden", "too_large", "budget"]
)
def test_an_outcome_without_rows_is_the_error(outcome):
    assert error_kind(ONE, ONE.replace("FROM t", "FROM u"), outcome) == outcome
    assert outcome in KINDS


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT " + "(" * 9_000 + "a" + ")" * 9_000 + " FROM t", "other"),
        ("SELECT a FROM t WHERE a = 1" + " OR a = 1" * 2_000, "filter"),
        ("SELECT a" + ", a" * 4_000 + " FROM t", "columns"),
        ("SELECT a" + ", a" * 1_000_000 + " FROM t", "other"),
        ("'" * 19_999, "other"),
    ],
    ids=["deep", "conditions", "columns", "long", "quotes"],
)
def test_odd_statements_have_a_kind_at_once(statement, kind):
    start = time.process_time()
    assert error_kind("SELECT a FROM t", statement, "mismatch") == kind
    assert error_kind(statement, "SELECT a FROM t", "mismatch") == kind
    assert time.process_time() - start < 5


# --- certificates ---------------------------------------------------------------------------------------------------

BARE = example("SELECT b FROM t WHERE a > 1", id="bare")
BROKEN = example("SELECT b FROM nowhere", id="broken")
ENDS = ["", ";", " ;", ";;", "\n;\n", " ; ; ", "\t;", "\r\n;"]
CANDIDATES = [
    Candidate("q", "SELECT b FROM t WHERE 1 < a", GROQ, "large"),
    Candidate("q", "<think>SELECT a FROM t</think>\n```sql\nSELECT b FROM t WHERE NOT a <= 1;\n```", GROQ, "large"),
    Candidate("q", "SELECT a FROM t WHERE a > 1", SAMPLED, "small"),
    Candidate("q", "SELECT b FROM t WHERE a < 1;", MUTATION, "comparison"),
    Candidate("q", "SELECT b FROM t WHERE a IN (2, 3)", SAMPLED, "small"),
    Candidate("q", "SELECT b FROM t WHERE a >= 2 AND a <= 3", MUTATION, "comparison"),
    Candidate("q", "SELECT b FROM t WHERE (a > 1)", MUTATION, "brackets"),
    Candidate("q", "SELECT  a\nFROM t WHERE a > 1 ;;", GROQ, "large"),
    Candidate("q", "```sql\nSELECT a FROM t WHERE a > 1\n```", SAMPLED, "small"),
    Candidate("q", REFERENCE_SQL, MUTATION, "nothing"),
    Candidate("q", "", SAMPLED, "small"),
    Candidate("q", "<think>SELECT b FROM t WHERE a > 1", SAMPLED, "small"),
    Candidate("q", "SELECT nope FROM t", SAMPLED, "small"),
    Candidate("q", "I do not know.", GROQ, "large"),
    Candidate("elsewhere", REFERENCE_SQL, GROQ, "large"),
    Candidate("broken", "SELECT b FROM t", SAMPLED, "small"),
    *(Candidate("bare", f"SELECT b FROM t WHERE a > {n}{end}", SAMPLED) for n, end in enumerate(ENDS, start=-3)),
    *(Candidate("q", f"SELECT b FROM t WHERE a < -{n}{end}", SAMPLED) for n, end in enumerate(ENDS)),
]
ALL = [example(), BARE, BROKEN]


@pytest.fixture(scope="module")
def certificate():
    return certify(ALL, CANDIDATES, workers=1)


def judged(certificate, name: str, *sources: str) -> list[tuple[str, str, str]]:
    return [(j.sql, j.source, j.error) for j in certificate.judgements[name] if not sources or j.source in sources]


def statements(certificate, name: str) -> set[tuple[str, bool]]:
    return {(" ".join(j.sql.split()), j.is_right) for j in certificate.judgements[name]}


def test_right_and_wrong_answers_are_told_apart_in_the_candidates_order(certificate):
    assert judged(certificate, "q")[:7] == [
        (REFERENCE_SQL, REFERENCE, ""),
        ("SELECT b FROM t WHERE 1 < a;", GROQ, ""),
        ("SELECT b FROM t WHERE NOT a <= 1;", GROQ, ""),  # without fence and reasoning
        ("SELECT a FROM t WHERE a > 1;", SAMPLED, "columns"),
        ("SELECT b FROM t WHERE a < 1;", MUTATION, "filter"),
        ("SELECT nope FROM t;", SAMPLED, "schema_error"),
        ("I do not know.;", GROQ, "syntax_error"),
    ]
    assert [j.is_right for j in certificate.judgements["q"]][:4] == [True, True, True, False]
    assert [j.origin for j in certificate.judgements["q"]][:5] == ["", "large", "large", "small", "comparison"]


def test_every_candidate_is_judged_or_counted_with_its_reason(certificate):
    reasons = certification
    assert certificate.drops == {
        (SAMPLED, reasons.DOUBTFUL): 1,  # agrees on the given rows, and on no generated database
        (MUTATION, reasons.DOUBTFUL): 1,
        (MUTATION, reasons.EQUIVALENT): 1,
        **{(source, reasons.DUPLICATE): 1 for source in (GROQ, SAMPLED, MUTATION)},
        (SAMPLED, reasons.NO_SQL): 2,
        (GROQ, reasons.NO_QUESTION): 1,
        **{(source, reasons.UNSCORABLE): 1 for source in (REFERENCE, SAMPLED)},
    }
    judgements = sum(map(len, certificate.judgements.values()))
    assert judgements + certificate.drops.total() == len(CANDIDATES) + len(ALL) - 1  # a sample is bare's reference
    assert list(certificate.judgements) == ["q", "bare", "broken"] and certificate.judgements["broken"] == []


def test_the_end_of_a_statement_says_nothing(certificate):
    for name, mark in (("q", ";"), ("bare", "")):
        statements = [j.sql for j in certificate.judgements[name]]
        assert len(statements) >= len(ENDS)
        assert [sql for sql in statements if sql != sql.rstrip("; \t\r\n") + mark] == []


def test_a_sample_that_says_the_reference_counts_as_a_sample(certificate):
    assert judged(certificate, "bare", REFERENCE) == []
    assert (BARE.sql, SAMPLED, "") in judged(certificate, "bare")


def test_strings_that_differ_in_white_space_are_two_statements():
    spaces = example("SELECT a FROM t WHERE b = 'x y';", schema=SCHEMA.replace("'x'", "'x y'"))
    certificate = certify([spaces], [Candidate("q", "SELECT a FROM t WHERE b = 'x  y'", SAMPLED)], workers=1)
    assert judged(certificate, "q") == [
        (spaces.sql, REFERENCE, ""),
        ("SELECT a FROM t WHERE b = 'x  y';", SAMPLED, "filter"),
    ]


def test_the_same_candidates_get_the_same_certificate(certificate):
    assert certify(ALL, CANDIDATES, workers=2) == certificate
    backwards = certify(ALL[::-1], iter(CANDIDATES[::-1]), workers=1)
    for name in ("q", "bare"):  # the order changes, no verdict does
        assert judged(backwards, name) != judged(certificate, name)
        assert statements(backwards, name) == statements(certificate, name)


def test_of_two_that_say_the_reference_the_first_counts():
    answers = [
        *(Candidate("q", REFERENCE_SQL, MUTATION, "m"), Candidate("q", f"```\n{REFERENCE_SQL}\n```", GROQ, "large")),
        Candidate("q", "SELECT b  FROM t WHERE a > 1", SAMPLED, "small"),
    ]
    certificate = certify([example()], answers, workers=1)
    assert judged(certificate, "q") == [(REFERENCE_SQL, GROQ, "")]
    assert certificate.drops == {(MUTATION, certification.DUPLICATE): 1, (SAMPLED, certification.DUPLICATE): 1}


def test_without_candidates_references_are_judged():
    certificate = certify([example()], [], workers=1)
    assert judged(certificate, "q") == [(REFERENCE_SQL, REFERENCE, "")] and not certificate.drops
    assert certify([], [], workers=1).judgements == {}


def test_databases_are_those_of_rewards(monkeypatch):
    options, robust = {}, True

    class Observed(Scorer):
        def __init__(self, **given):
            options.update(given)
            super().__init__(**given)

        def score_batch(self, rows, progress=False):
            verdicts = super().score_batch(rows, progress=progress)
            return [replace(verdict, robust_match=robust) for verdict in verdicts]

    monkeypatch.setattr(certification, "Scorer", Observed)
    certify([example()], [], workers=1)
    assert options == {"workers": 1, "databases": certification.DATABASES, "seed": REWARD_SEED}
    assert REWARD_SEED != EVALUATION_SEED and certification.DATABASES >= 1
    robust = False
    refused = certify([example()], [], workers=1)
    assert refused.drops == {(REFERENCE, certification.REFUSED): 1} and refused.judgements == {"q": []}
