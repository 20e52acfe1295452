"""What the embedded data set is like as a whole: forms, phrasings, wording, schemas, results, over 4,200 rows."""

import re
from collections import Counter
from functools import cache
from itertools import combinations
from statistics import mean

import pytest

from common.synthetic import SPLITS, Origin, draw_rows
from common.synthetic.plan import Select
from tests.unit.lookups import answer
from tests.unit.question_reader import plurals

EACH = 700  # rows per split: 4,200 in all
TESTS = ("test", "test_unseen", "test_forms")
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "select distinct from where and or not in like is null between case when then else end as join left "
        "on group by having order limit offset union intersect except with over partition rank row_number lag "
        "lead count sum avg max min round upper lower length substr strftime cast exists insert into values "
        "update set delete create table view index drop alter add column rename to all ",
    )
)


@cache
def origins(split: str) -> list[Origin]:
    return list(draw_rows(split, EACH))


@cache
def everything() -> list[Origin]:
    return [origin for split in SPLITS for origin in origins(split)]


def shown(faults: list[Origin]) -> str:
    some = "\n".join(f"{origin.row['id']}: {origin.row['sql_prompt']}" for origin in faults[:12])
    return f"{len(faults)} of {len(everything())}\n{some}"


def form(sql: str) -> str:
    """A query without its names and constants, and without the direction of comparisons and sorts."""
    parts = re.findall(r"'[^']*'|\d+(?:\.\d+)?|\w+(?:\.\w+)?|[<>!]?=|[<>]|[^\s\w]", sql.rstrip(";"))
    mask = []
    for part in parts:
        if part[0] == "'" or part[0].isdigit():
            mask.append("v")
        elif part in ("<", ">", "<=", ">="):
            mask.append("<")
        elif part.lower() in ("asc", "desc"):
            continue
        else:
            mask.append(part.lower() if part.lower() in KEYWORDS or not part[0].isalpha() else "x")
    return " ".join(mask)


@cache
def forms(split: str) -> Counter:
    return Counter(form(origin.row["sql"]) for origin in origins(split))


def template(origin: Origin) -> str:
    """A question without the words of its schema and its constants."""
    fields = [f for relation in origin.scene.relations for f in relation.fields]
    words = {noun for f in fields if f.noun for noun in (f.noun, *plurals(f.noun))} | {
        str(v) for f in fields for v in f.column.values
    }
    words |= {noun for relation in origin.scene.relations for noun in (relation.one, relation.many)}
    text = origin.row["sql_prompt"]
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(word)}\b", "_", text, flags=re.I)
    return re.sub(r"'[^']*'|\d[\d.-]*", "_", text)


# Forms and phrasings


def test_there_are_at_least_250_query_forms():
    every = set().union(*(forms(split) for split in SPLITS))
    queries = {one for one in every if one.startswith(("select", "with"))}
    print(f"\n{len(every)} forms, {len(queries)} of them queries")
    assert len(queries) >= 250


def test_a_fifth_of_the_forms_occurs_in_test_forms_alone():
    elsewhere = set().union(*(forms(split) for split in SPLITS if split != "test_forms"))
    shared = [one for one in set(forms("test_forms")) & elsewhere if one.startswith(("select", "with"))]
    own = set(forms("test_forms")) - elsewhere
    print(f"\n{len(own)} forms in test_forms alone, {len(elsewhere)} elsewhere, {len(shared)} queries in both")
    assert 0.12 <= len(own) / len(own | elsewhere) <= 0.3
    assert not shared, shared


def test_some_phrasings_are_kept_for_the_test_splits():
    shares = {split: mean(origin.is_fresh for origin in origins(split)) for split in SPLITS}
    print(f"\n{shares}")
    assert all(shares[split] == 0 for split in SPLITS if split not in TESTS)
    assert all(0.3 <= shares[split] <= 0.5 for split in TESTS)
    ways = [(len(o.draft.fresh), len(o.draft.frames)) for o in everything() if o.draft.plan]
    assert 0.1 <= mean(fresh / (fresh + common) for fresh, common in ways) <= 0.3


def test_a_phrasing_of_the_test_splits_occurs_in_no_other():
    known = {template(o) for split in SPLITS if split not in TESTS for o in origins(split)}
    fresh = [o for split in TESTS for o in origins(split) if o.is_fresh]
    faults = [o for o in fresh if template(o) in known]
    assert not faults, shown(faults)


# Wording

MOST = "highest|lowest|maximum|minimum|largest|smallest"
MEANS = "average|mean|total|combined|overall"
SLIPS = {  # what no question has, as an expression
    "a cue": r"\b(?:CTEs?|unions?|intersect\w*|sub-?quer\w*|window functions?|joins?)\b",
    "values of": r"\bvalues? of\b",
    "two superlatives": rf"\b(?:{MOST}) (?:{MOST})\b",
    "two figures": rf"\b(?:{MEANS}) (?:{MEANS})\b",
    "an article before a figure": rf"\b(?:has|have|having) an? (?:{MOST})\b",
    "a word twice": r"\b(\w+) \1\b",
    "name and name": r"\b(?:the|show|give|list|return|and) ([a-z]+(?: [a-z]+)*) and (?:the )?\1(?=[.,;?]| of | for )",
    "the x of the x": r"\b([a-z]+(?: [a-z]+)*) (?:of|for) the \1\b",
    "a before a vowel": r"\ba (?=[aeio]|u(?!n[ir]|s|til))(?!one\b|once|euro|ewe)\w+",
    "an before a consonant": r"\ban (?!(?:[aeioAEIOF8]|hour|u(?!n[ir]|s)|MRI|SMS|LED|X|[A-Z]\d))\w+",
    "a mark of a pattern": r"[\[\]|{}_]|  | [.,?:;]|[.,?:;]{2}",
    "two small words": r"\b(?:of of|for of|of for|with with|whose is|in in|the an?|an? the|every all|all every)\b",
    "a clause behind not": r"\bnot (?:who|whose|that)\b",
    "what do we have as": r"\bdo we have as\b",
    "numbers of": r"\bnumbers of characters\b",
    "a plural of a number": r"\b\d[\d.]*s\b",
    "a plural of two columns": r"\b(?:names|titles|labels|codes) and [a-z ]+ (?:minus|plus) ",
    "these before what they are": r"\bof these for each\b",
    "one name of several": r"\bWhat is the (?:name|title|label|code) of the [23]\b",
    "is there": r"\bare there exactly 1\b",
    "a capital behind a colon": r": (?:For|List|Show|Give|Return|What|Which)\b",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_questions_are_free_of(slip):
    names = re.compile(r"'[^']*'")
    say = template if slip in ("a cue", "values of") else lambda origin: names.sub("'", origin.row["sql_prompt"])
    faults = [origin for origin in everything() if origin.draft.plan and re.search(SLIPS[slip], say(origin))]
    assert not faults, shown(faults)


def test_one_is_followed_by_a_singular_and_every_by_a_singular_verb():
    faults = []
    for origin in everything():
        many = "|".join(re.escape(r.many) for r in origin.scene.relations if r.many != r.one)
        one = "|".join(re.escape(r.one) for r in origin.scene.relations if r.many != r.one)
        slips = (
            rf"(?<![-\w.])1 (?:{many or '§'})\b|\b(?:{one or '§'}) (?:that|who) (?:have|belong|do)\b"
            rf"|\b(?:{many or '§'}) (?:that|who) (?:has|belongs|does)\b"
        )
        if re.search(slips, origin.row["sql_prompt"]):
            faults.append(origin)
    assert not faults, shown(faults)


def test_no_column_is_called_the_number_of_something():
    faults = [o for o in everything() for r in o.scene.relations for f in r.fields if f.noun.startswith("number of ")]
    assert not faults, shown(faults)


def test_nouns_of_a_row_mean_one_thing():
    """No two columns of a table, and no two tables, share a noun; a table's noun is no column's."""
    faults = []
    for origin in everything():
        for relation in origin.scene.relations:
            nouns = [f.noun for f in relation.fields if f.kind != "ref"]
            faults += [origin] * (len(set(nouns)) < len(nouns) or relation.many in nouns)
        tables = [noun for relation in origin.scene.relations for noun in {relation.one, relation.many}]
        faults += [origin] * (len(set(tables)) < len(tables))
    assert not faults, shown(faults)


def test_a_question_is_a_sentence():
    faults = [
        o
        for o in everything()
        if not re.fullmatch(r"[A-Z0-9'a-z].*[.?]", o.row["sql_prompt"])
        or o.row["sql_prompt"].count("(") != o.row["sql_prompt"].count(")")
    ]
    assert not faults, shown(faults)


UNITS = (
    r"kg|km|cm|mm|mg|k?Wh?|MW|miles|meters|hectares|acres|hours|days|minutes|percent|tons|liters|grams|thousands|years"
)


def unit(noun: str) -> str:
    """What the numbers of a column are in: `hours`, `square meters`; empty where the noun does not say."""
    found = re.search(rf" in ((?:square |cubic )?(?:{UNITS}))\b", noun)
    return found[1] if found else ""


def test_numbers_that_are_compared_or_added_have_one_unit():
    faults = []
    for origin in everything():
        selects = [origin.draft.plan] if isinstance(origin.draft.plan, Select) else []
        parts = [part for select in selects for part in (*select.terms, *select.where)]
        pairs = [(part.field, part.other) for part in parts if getattr(part, "kind", "") == "columns"]
        pairs += [(part.field, part.other) for part in parts if getattr(part, "function", "") in ("plus", "minus")]
        faults += [origin] * any(unit(one.noun) != unit(other.noun) for one, other in pairs)
    assert not faults, shown(faults)


def test_only_names_have_a_length():
    """The length of a surface is in meters."""
    selects = [(origin, origin.draft.plan) for origin in everything() if isinstance(origin.draft.plan, Select)]
    faults = [
        origin for origin, plan in selects if any(t.function == "length" and t.field.kind != "name" for t in plan.terms)
    ]
    assert not faults, shown(faults)


# Schemas and results


def schema(context: str) -> dict[str, list[str]]:
    return {
        table: [column.split()[0] for column in columns.split(", ")]
        for table, columns in re.findall(r"CREATE TABLE (\w+) \(([^)]*)\)", context)
    }


def test_tables_are_wide_and_not_all_of_them_are_needed():
    schemas = [schema(origin.row["sql_context"]) for origin in everything()]
    widths = [len(columns) for tables in schemas for columns in tables.values()]
    numbers = Counter(len(tables) for tables in schemas)
    more = mean(
        any(not re.search(rf"\b{table}\b", o.row["sql"]) for table in tables)
        for tables, o in zip(schemas, everything(), strict=True)
        if o.draft.plan
    )
    print(
        f"\n{mean(widths):.2f} columns, {dict(Counter(widths))}; tables {dict(numbers)}; {more:.1%} with one not needed"
    )
    assert set(widths) <= set(range(3, 9))
    assert mean(widths) >= 4.3
    assert set(numbers) <= {1, 2, 3, 4}
    assert more >= 0.25


def test_most_contexts_have_columns_of_near_names():
    """Two columns of one table whose SQL names, or whose nouns, share a word."""

    def near(names) -> bool:
        words = [{word for word in re.split(r"[_\s]", name) if len(word) > 2} for name in names]
        return any(one & other for one, other in combinations(words, 2))

    by_name = [any(near(columns) for columns in schema(o.row["sql_context"]).values()) for o in everything()]
    by_noun = [any(near([f.noun for f in r.fields if f.noun]) for r in o.scene.relations) for o in everything()]
    both = [a or b for a, b in zip(by_name, by_noun, strict=True)]
    print(f"\nnear names {mean(by_name):.1%}, near nouns {mean(by_noun):.1%}, either {mean(both):.1%}")
    assert mean(both) > 0.5


def test_some_results_are_empty_and_some_have_ties():
    rows = [answer(o.row["sql_context"], o.row["sql"]) for o in everything() if o.draft.plan]
    empty = mean(not result or result == [(None,)] for result in rows)
    ties = mean(o.draft.ties for o in everything() if o.draft.plan)
    print(f"\n{empty:.1%} empty, {ties:.1%} with ties")
    assert 0.02 <= empty <= 0.08
    assert ties >= 0.01
