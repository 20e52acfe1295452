"""A reading of questions: what an English sentence asks of one table, worked out from the sentence and the scene's
words alone, without the patterns it was made from.

Covers questions about the rows of one table: lists, single rows, counts, figures, groups. `ask` finds the conditions,
then the order, then the columns, each in the order in which the sentence names them; every word that is left over must
be one of a few that carry no meaning here, or the sentence is not understood.
"""

import re
from collections.abc import Callable, Iterator

from common.synthetic.plan import Condition, Select, Term
from common.synthetic.tables import Relation
from tests.unit.question_words import (
    DISTINCT,
    DOWN,
    EMPTY,
    FIGURES,
    NUMBER,
    ORDINALS,
    UP,
    Asked,
    Meaning,
    doubtful_owners,
    either,
    take_conditions,
)


def meant(plan: Select) -> Asked:
    """The same of a plan."""
    return Asked(
        [_of_term(term) for term in plan.terms],
        {meaning_of(condition) for condition in plan.where},
        plan.any_of and len(plan.where) > 1,
        [(_of_term(term), down) for term, down in plan.order],
        plan.limit,
        plan.offset,
        plan.distinct,
    )


def is_covered(plan) -> bool:
    """Whether the plan is of the kind that `ask` reads."""
    if (
        not isinstance(plan, Select)
        or any(link.outer for link in plan.links)
        or plan.best
        or plan.having
        or len(plan.group) > 1
    ):
        return False
    functions = {term.function for term in (*plan.terms, *(term for term, _ in plan.order), *plan.group)}
    plain = {"column", "times", "plus", "minus", "upper", "lower", "length", "count", "distinct", "spread", "rounded"}
    return functions <= plain | {"sum", "avg", "max", "min"} and not any(c.nested for c in plan.where)


def _of_term(term: Term) -> Meaning:
    cells = [f.full for f in (term.field, term.other) if f]
    return (term.function, *cells, *([float(term.number)] if term.number else []))


def meaning_of(condition: Condition) -> Meaning:
    """A plain condition as a question says it: column, operator, values."""
    name, values = condition.field.full, condition.values
    if condition.kind == "columns":
        return (name, condition.op, condition.other.full)
    if condition.kind in ("compare", "among", "in_year"):
        op = {"compare": condition.op, "among": "in", "in_year": "year"}[condition.kind]
        return (name, op, *sorted(map(str, values)))
    return (name, condition.kind, *map(str, values))


def ask(question: str, tables: tuple[Relation, ...]) -> Asked:
    """The reading of a question about rows of the first of `tables`, which refers to the others."""
    asked, text = Asked(), f" {question.strip()} ".replace("; leave out everything else", "")
    text = re.sub(r"^ Name (?=the|every|each)", " Give ", text)  # the verb, not the column
    text = take_conditions(asked, text, tables)
    text = _take_order(asked, text, tables)
    asked.open += doubtful_owners(text, tables)
    asked.distinct = bool(re.search(DISTINCT, text))
    counted = re.search(r"\b(?:how many|count|number of)\b", text, re.I)
    text = _take_columns(asked, re.sub(DISTINCT, " ", text), tables)
    asked.order = [
        (asked.columns[-1] if key == ("figure",) and asked.columns else key, down) for key, down in asked.order
    ]
    if asked.distinct and counted and asked.columns and len(asked.columns) < 3:
        asked.columns, asked.distinct = [("distinct", *asked.columns[-1][1:])], False
    for noun in sorted((noun for table in tables for noun in (table.many, table.one)), key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(noun)}\b", " ", text, flags=re.I)
    asked.left = [word for word in re.findall(r"[^\s.,?:;]+", text.replace("§", " ")) if word.lower() not in EMPTY]
    return asked


# Order


def _nouns(text: str, tables: tuple[Relation, ...]) -> dict[str, str]:
    """What a column can be called -> its full name: "city", "cities", "team's city", "city of the team"."""
    nouns: dict[str, str] = {}
    for table in reversed(tables):
        for f in table.fields:
            if f.noun and f.kind != "ref":
                full = {f"{table.one}'s {f.noun}": f.full, f"{f.noun} of the {table.one}": f.full}
                grouped = re.search(rf"(?:per|by|each|which|every|find) {f.noun} of the {table.one}\b", text, re.I)
                nouns |= full | (
                    dict.fromkeys((f.noun, *plurals(f.noun)), f.full) if table is tables[0] or grouped else {}
                )
    return nouns


def plurals(noun: str) -> list[str]:
    """How a plural of the noun may look: `towns`, `countries`, `types of fuel`."""
    head, behind = re.match(r"(.*?)((?: (?:in|of|per|for|to|on|at) .*)?)$", noun).groups()
    ends = [f"{head}s", f"{head}es", *([f"{head[:-1]}ies"] if head.endswith("y") else [])]
    return [f"{end}{behind}" for end in ends]


def _named(nouns: dict[str, str], said: str) -> str:
    return nouns.get(said) or nouns[said[0].lower() + said[1:]]


def _take_order(asked: Asked, text: str, tables: tuple[Relation, ...]) -> str:
    nouns, table = _nouns(text, tables), tables[0]
    noun, figure = rf"(?P<noun>{either(nouns)})", rf"(?P<word>{either(FIGURES)})"
    many, ends = re.escape(table.many), either((*DOWN, *UP))
    best: list[tuple[Meaning, bool]] = []

    def take(pattern: str, found) -> None:
        nonlocal text
        for match in re.finditer(pattern, text):
            found(match)
        text = re.sub(pattern, " ", text)

    def is_down(word: str) -> bool:
        return word in DOWN or FIGURES.get(word) == "max"

    def key(match: re.Match) -> Meaning:
        said = match.groupdict()
        return (
            ("count",)
            if not said.get("noun")
            else (FIGURES[said["word"]] if said.get("word") else "column", nouns[match["noun"]])
        )

    take(
        rf",? (?:and )?sorted by (?:{figure} )?{noun},? (?P<end>{ends})",
        lambda m: asked.order.append((key(m), is_down(m["end"]))),
    )
    take(
        rf", sorted by (?:number|count), (?P<end>{ends})", lambda m: asked.order.append((("count",), is_down(m["end"])))
    )
    take(
        r", (?P<end>highest|lowest) (?:number|count) first",
        lambda m: asked.order.append((("count",), is_down(m["end"]))),
    )
    take(rf", (?P<end>highest|lowest) {figure} {noun} first", lambda m: asked.order.append((key(m), is_down(m["end"]))))
    later = []
    take(rf",? and, where equal, by {noun} from A to Z", lambda m: later.append((key(m), False)))
    told = []
    take(
        r", sorted by that [\w ]+, (?P<end>highest|lowest) first",
        lambda m: asked.order.append((("figure",), is_down(m["end"]))),
    )
    take(r", (?P<end>highest|lowest) first\b", lambda m: told.append(is_down(m["end"])))

    def superlative(match: re.Match) -> None:
        asked.offset = ORDINALS.get((match["place"] or "").strip(), 0)
        best.append((("column", nouns[match["noun"]]), is_down(match["end"])))

    place, word = (
        r"(?P<place>second |third )?",
        rf"(?P<end>{either(w for w, f in FIGURES.items() if f in ('max', 'min'))})",
    )
    few = re.search(rf"(?P<n>\d) {many} (?:§ )*(?=(?:with|have) the )", text)
    top = re.search(rf"(?P<end>Top|Bottom) (?P<n>\d) by {noun} of", text)
    if few or top:
        asked.limit = int((few or top)["n"])
        text = text.replace((few or top)[0], " ", 1)
    if top:
        best.append((("column", nouns[top["noun"]]), top["end"] == "Top"))
    take(rf"\b(?:with|have|has) the {place}{word} {noun}(?=[ ,.?:])(?! of)", superlative)
    for f in table.fields:
        if f.kind in ("rate", "sum") and len(f.column.wording) == 2:
            pattern = rf"\b{place}(?P<end>{either(f.column.wording)}) (?={re.escape(table.one)}\b)"
            for match in re.finditer(pattern, text):
                asked.offset = ORDINALS.get((match["place"] or "").strip(), 0)
                best.append((("column", f.full), match["end"] == f.column.wording[0]))
            text = re.sub(pattern, " ", text)
    take(
        rf"\b(?:has|with|having) the (?P<end>most|fewest) (?=(?:§ )*{many})",
        lambda m: best.append((("count",), m["end"] == "most")),
    )
    take(
        rf"\b(?:has|with|having) the (?P<end>highest|lowest) {figure} {noun}(?= of)",
        lambda m: best.append((key(m), is_down(m["end"]))),
    )
    if best:
        asked.limit = asked.limit or 1
        if len(set(best)) > 1:
            asked.open.append(f"two superlatives: {best}")
        if told and told[0] != best[0][1]:
            asked.open.append("highest or lowest first")
        asked.order = best[:1]
    asked.order += later
    return text


# Columns


def _columns(text: str, tables: tuple[Relation, ...]) -> Iterator[tuple[str, Callable]]:
    """Expressions for what can be shown, and what each means."""
    nouns, table = _nouns(text, tables), tables[0]
    noun, other, many = rf"(?P<noun>{either(nouns)})", rf"(?P<other>{either(nouns)})", re.escape(table.many)
    name = lambda m: _named(nouns, m["noun"])  # noqa: E731
    spread = r"(?:difference|gap) between the (?:highest|largest) and the (?:lowest|smallest)"
    yield rf"{spread} {noun}", lambda m: ("spread", name(m))
    yield (
        rf"average {noun}, rounded to (?P<n>one|two) decimals?,?",
        lambda m: ("rounded", name(m), {"one": 1.0, "two": 2.0}[m["n"]]),
    )
    yield rf"{noun} (?:times|multiplied by) (?P<n>{NUMBER})", lambda m: ("times", name(m), float(m["n"]))
    yield rf"{noun} plus {other}", lambda m: ("plus", name(m), _named(nouns, m["other"]))
    yield rf"{noun} minus {other}", lambda m: ("minus", name(m), _named(nouns, m["other"]))
    yield rf"{noun} in capital letters", lambda m: ("upper", name(m))
    yield rf"{noun} in lower case", lambda m: ("lower", name(m))
    yield rf"(?:length of|numbers? of characters in) the {noun}", lambda m: ("length", name(m))
    yield rf"(?:per|by|in each|for each) {noun}(?=[ ,.?:])(?! (?:§ )?{many})", lambda m: None
    yield rf"(?P<word>{either(FIGURES)}) {noun}", lambda m: (FIGURES[m["word"]], name(m))
    yield (
        rf"(?:[Hh]ow many|[Nn]umber of|[Cc]ount of|Count|Count all|Count the)(?= (?:the )?{many})",
        lambda m: ("count",),
    )
    yield rf"(?:(?:Show )?the )?{noun}(?: first| in front)\b", lambda m: ("first", name(m))
    yield noun, lambda m: ("column", name(m))
    yield r"(?:[Nn]umber|[Cc]ount)", lambda m: ("count",)


def _take_columns(asked: Asked, text: str, tables: tuple[Relation, ...]) -> str:
    """What is shown, leftmost first, the longest reading of each place."""
    patterns = [
        (re.compile(rf"(?<!\w)(?:{said})(?!\w)", re.I), meaning_in) for said, meaning_in in _columns(text, tables)
    ]
    at, left = 0, ""
    while at < len(text):
        matches = [
            (match.end(), -i, match) for i, (pattern, _) in enumerate(patterns) if (match := pattern.match(text, at))
        ]
        if not matches:
            left, at = left + text[at], at + 1
            continue
        end, which, match = max(matches, key=lambda m: m[:2])
        meaning = patterns[-which][1](match)
        if meaning and meaning[0] == "first":
            key = ("column", meaning[1])
            asked.columns = [key, *(column for column in asked.columns if column != key)]
        elif meaning and meaning not in asked.columns:
            asked.columns.append(meaning)
        left, at = f"{left} ", max(end, at + 1)
    return left
