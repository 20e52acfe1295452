"""A reading of questions: what an English sentence asks of one table, worked out from the sentence and the scene's
words alone, without the patterns it was made from.

Covers questions about the rows of one table: lists, single rows, counts, figures, groups. `ask` finds the conditions,
then the order, then the columns, each in the order in which the sentence names them; every word that is left over must
be one of a few that carry no meaning here, or the sentence is not understood.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from common.synthetic.plan import Condition, Select, Term
from common.synthetic.tables import Field, Relation

OPERATORS = {
    **dict.fromkeys(("above", "over", "more than", "greater than", "higher than", "after"), ">"),
    **dict.fromkeys(("below", "under", "less than", "lower than", "before"), "<"),
    **dict.fromkeys(("of at least", "at least"), ">="),
    **dict.fromkeys(("of at most", "at most"), "<="),
}
FIGURES = {
    **dict.fromkeys(("total", "combined", "overall"), "sum"),
    **dict.fromkeys(("average", "mean"), "avg"),
    **dict.fromkeys(("highest", "maximum", "largest", "latest"), "max"),
    **dict.fromkeys(("lowest", "minimum", "smallest", "earliest"), "min"),
}
PARTS = {"starts with": "starts", "begins with": "starts", "ends with": "ends", "contains": "contains"}
DOWN = ("in reverse alphabetical order", "from Z to A", "from highest to lowest", "in descending order")
DOWN += ("latest first", "highest first")
UP = ("in alphabetical order", "from A to Z", "from lowest to highest", "in ascending order")
UP += ("earliest first", "lowest first")
DISTINCT = r"\b(?:each different|different|distinct|unique|without repeats|each counted once|once)\b"
ORDINALS = {"second": 1, "third": 2}
EMPTY = frozenset(  # words that add nothing to what is asked
    "show list give return display what which is are of all the each for every find get look up i need want to see "
    "tell me there pull print please can could you would like report calculate compute work out over we determine "
    "state taking together and a in do have has with that do does occur among exist it its their number how many count "
    "by per group split break down summarise giving then first front having name those whose as values found belong belongs any leaving out without them an".split()
)
NUMBER, DAY = r"-?\d+(?:\.\d+)?", r"\d{4}-\d\d-\d\d"
Meaning = tuple


@dataclass
class Asked:
    """What a sentence asks. `left` are the words that were not understood, `open` what can be read in two ways."""

    columns: list[Meaning] = field(default_factory=list)
    conditions: set[Meaning] = field(default_factory=set)
    any_of: bool = False
    order: list[tuple[Meaning, bool]] = field(default_factory=list)
    limit: int = 0
    offset: int = 0
    distinct: bool = False
    left: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def meant(plan: Select) -> Asked:
    """The same of a plan."""
    return Asked(
        [_of_term(term) for term in plan.shown],
        {_of_condition(condition) for condition in plan.where},
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
    functions = {term.function for term in (*plan.shown, *(term for term, _ in plan.order), *plan.group)}
    plain = {"column", "times", "plus", "minus", "upper", "lower", "length", "count", "distinct", "spread", "rounded"}
    return functions <= plain | {"sum", "avg", "max", "min"} and not any(c.nested for c in plan.where)


def _of_term(term: Term) -> Meaning:
    cells = [f.full for f in (term.field, term.other) if f]
    return (term.function, *cells, *([float(term.number)] if term.number else []))


def _of_condition(condition: Condition) -> Meaning:
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
    text = _take_conditions(asked, text, tables)
    text = _take_order(asked, text, tables)
    asked.open += _doubtful_owners(text, tables)
    asked.distinct = bool(re.search(DISTINCT, text))
    counted = re.search(r"\b(?:how many|count|number of)\b", text, re.I)
    text = _take_columns(asked, re.sub(DISTINCT, " ", text), tables)
    if asked.distinct and counted and len(asked.columns) < 3:
        asked.columns, asked.distinct = [("distinct", *asked.columns[-1][1:])], False
    for noun in sorted((noun for table in tables for noun in (table.many, table.one)), key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(noun)}\b", " ", text, flags=re.I)
    asked.left = [word for word in re.findall(r"[^\s.,?:;]+", text.replace("§", " ")) if word.lower() not in EMPTY]
    return asked


# Conditions


def _patterns(f: Field, table: Relation) -> Iterator[tuple[str, str]]:
    """Kind and expression of each way to say a condition on a column."""
    noun, value = re.escape(f.noun), DAY if f.kind == "date" else NUMBER
    head, operators = rf"(?:whose {noun} (?:is|are)|with (?:an? )?{noun})", "|".join(OPERATORS)
    yield "compare", rf"{head} (?:of )?(?P<op>{operators}) (?P<a>{value})"
    yield "between", rf"{head} between (?P<a>{value}) and (?P<b>{value})"
    yield "missing", rf"(?:with no {noun} recorded|whose {noun} (?:is|are) missing|with unknown {noun})"
    yield "known", rf"with a (?:known|recorded) {noun}"
    yield "text", rf"whose {noun} (?P<op>{'|'.join(PARTS)}) '(?P<a>[^']*)'"
    for other in table.fields:
        if other is not f and other.noun:
            yield (
                f"columns {other.full}",
                rf"whose {noun} (?:is|are) (?P<op>{operators}) (?:their|its) {re.escape(other.noun)}",
            )
    if f.kind in ("year", "date"):
        verb = rf"(?:{re.escape(f.column.wording[0])}|whose {noun} (?:is|are))" if f.column.wording else head
        yield "compare", rf"{verb} (?P<op>after|before) (?P<a>{value})"
        yield "between", rf"{verb} between (?P<a>{value}) and (?P<b>{value})"
        yield "year" if f.kind == "date" else "compare", rf"{verb} (?:in )?(?P<a>\d{{4}})(?!-)"
    if f.kind in ("group", "name"):
        values = "|".join(map(re.escape, sorted(f.column.values, key=len, reverse=True)))
        one = rf"(?P<a>{values})(?: or (?P<b>{values}))?"
        yield "compare", rf"whose {noun} (?:is|are) (?P<no>not )?{one}\b"
        yield "compare", rf"with {one} as {noun}\b"
        yield "compare", rf"with the {noun} {one}\b"
        yield "compare", rf"with an? {noun} (?P<no>other than ){one}\b"
        for wording in f.column.wording:
            said = re.escape(wording).replace(r"\{\}", "{}").replace("{}", one)
            yield "compare", rf"(?P<no>not )?{said}(?!\w)"
    if f.kind == "name":
        yield (
            "compare",
            rf"(?:(?<=the {re.escape(table.one)} )(?P<a>{values})(?=[.?,: ])|(?:(?<= of )|(?<=^ ))(?P<b>{values})(?=[.?,:]))",
        )


def _conditions(text: str, tables: tuple[Relation, ...]) -> Iterator[tuple[int, int, Meaning]]:
    for table, f in ((table, f) for table in tables for f in table.fields):
        for kind, pattern in _patterns(f, table) if f.noun and f.kind not in ("key", "ref") else ():
            for match in re.finditer(rf"(?<!\w){pattern}", text):
                yield *match.span(), _meaning(f, kind, match)


def _meaning(f: Field, kind: str, match: re.Match) -> Meaning:
    said = match.groupdict()
    values = sorted(v for v in (said.get("a"), said.get("b")) if v is not None)
    if kind.startswith("columns"):
        return (f.full, OPERATORS[said["op"]], kind.split()[1])
    if kind == "text":
        return (f.full, PARTS[said["op"]], *values)
    if kind == "between":
        return (f.full, "between", said["a"], said["b"])
    if kind != "compare":
        return (f.full, kind, *values)
    op = OPERATORS[said["op"]] if said.get("op") else "in" if len(values) > 1 else "!=" if said.get("no") else "="
    return (f.full, op, *values)


def _nearest(text: str, end: int, tables: tuple[Relation, ...]) -> str:
    """The table whose noun stands last before a place."""
    places = [(m.end(), t.sql) for t in tables for m in re.finditer(rf"\b(?:{_either((t.one, t.many))})\b", text[:end])]
    return max(places, default=(0, tables[0].sql))[1]


def _take_conditions(asked: Asked, text: str, tables: tuple[Relation, ...]) -> str:
    """The text with § for each condition; where it fits columns of two tables, it is the nearer noun's."""
    kept: list[tuple[int, int, Meaning]] = []
    for start, end, meaning in sorted(
        _conditions(text, tables), key=lambda c: (c[0], -c[1], c[2][0].split(".")[0] != _nearest(text, c[0], tables))
    ):
        if kept and start < kept[-1][1]:
            same_table = kept[-1][2][0].split(".")[0] == meaning[0].split(".")[0]
            if kept[-1][:2] == (start, end) and kept[-1][2] != meaning and same_table:
                asked.open.append(f"{text[start:end]}: {kept[-1][2]} or {meaning}")
            continue
        kept.append((start, end, meaning))
    asked.conditions = {meaning for _, _, meaning in kept}
    between = [text[a[1] : b[0]] for a, b in zip(kept, kept[1:], strict=False)]
    asked.any_of = any(word.strip() == "or" for word in between)
    for start, end, _ in reversed(kept):
        text = f"{text[:start]}§{text[end:]}"
    return re.sub(r"§ or §", "§", text)


def _doubtful_owners(text: str, tables: tuple[Relation, ...]) -> list[str]:
    """Column nouns that can belong to either of two tables: "the name and age of the driver of each trip"."""
    doubtful = []
    for own, other in ((own, other) for other in tables[1:] for own in tables[0].fields if own.noun):
        if other.sql != tables[0].sql and own.noun in {f.noun for f in other.fields}:
            noun, of = re.escape(own.noun), rf"[\w ]+? of the {re.escape(other.one)}"
            for match in re.finditer(
                rf"\b{noun},? and (?!the |its )(?!{noun}){of}\b|\b{of},? and {noun}\b(?! of the)", text
            ):
                doubtful.append(f"whose {own.noun}: {match[0]}")
    return doubtful


# Order


def _nouns(text: str, tables: tuple[Relation, ...]) -> dict[str, str]:
    """Noun -> full name of each column that can be asked for: "city", and "city of the team" for other tables."""
    own = {f.noun: f.full for f in tables[0].fields if f.noun and f.kind != "ref"}
    fields = [(f, table) for table in tables[1:] for f in table.fields if f.noun and f.kind != "ref"]
    other = {f"{f.noun} of the {table.one}": f.full for f, table in fields}
    keys = {
        noun.rsplit(" of the ", 1)[0]: name
        for noun, name in other.items()
        if re.search(rf"(?:per|each) {noun}\b", text)
    }
    return keys | own | other  # "the type of each donor" stands for itself once the groups are named


def _named(nouns: dict[str, str], said: str) -> str:
    return nouns.get(said) or nouns[said[0].lower() + said[1:]]


def _either(words) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def _take_order(asked: Asked, text: str, tables: tuple[Relation, ...]) -> str:
    nouns, table = _nouns(text, tables), tables[0]
    noun, figure = rf"(?P<noun>{_either(nouns)})", rf"(?P<word>{_either(FIGURES)})"
    many, ends = re.escape(table.many), _either((*DOWN, *UP))
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
        rf", (?P<end>highest|lowest) (?:number|count) first",
        lambda m: asked.order.append((("count",), is_down(m["end"]))),
    )
    take(rf", (?P<end>highest|lowest) {figure} {noun} first", lambda m: asked.order.append((key(m), is_down(m["end"]))))
    later = []
    take(rf",? and, where equal, by {noun} from A to Z", lambda m: later.append((key(m), False)))
    told = []
    take(r", (?P<end>highest|lowest) first\b", lambda m: told.append(is_down(m["end"])))

    def superlative(match: re.Match) -> None:
        asked.offset = ORDINALS.get((match["place"] or "").strip(), 0)
        best.append((("column", nouns[match["noun"]]), is_down(match["end"])))

    row = rf"(?:{many}|{re.escape(table.one)}) (?:(?:and )?§ )*"
    place = r"(?P<place>second |third )?"
    text_of_rows = re.search(rf"(?P<n>\d) {row}(?:with|have) the (?P<end>highest|lowest) {noun}(?=[ ,.?:])", text)
    if text_of_rows:
        asked.limit = int(text_of_rows["n"])
        superlative_of = (("column", nouns[text_of_rows["noun"]]), is_down(text_of_rows["end"]))
        best.append(superlative_of)
        text = text.replace(text_of_rows[0], " ", 1)
    take(
        rf"(?:(?<=§ )|(?<={re.escape(table.one)} ))with the {place}(?P<end>{_either(FIGURES)}) {noun}(?=[ ,.?:])",
        superlative,
    )
    top = re.search(rf"(?P<end>Top|Bottom) (?P<n>\d) {row}by {noun}", text)
    if top:
        asked.limit = int(top["n"])
        best.append((("column", nouns[top["noun"]]), top["end"] == "Top"))
        text = text.replace(top[0], " ", 1)
    for f in table.fields:
        if f.kind in ("rate", "sum") and len(f.column.wording) == 2:
            pattern = rf"\b{place}(?P<end>{_either(f.column.wording)}) (?={re.escape(table.one)}\b)"
            for match in re.finditer(pattern, text):
                asked.offset = ORDINALS.get((match["place"] or "").strip(), 0)
                best.append((("column", f.full), match["end"] == f.column.wording[0]))
            text = re.sub(pattern, " ", text)
    take(
        rf"\b(?:has|with|having) the (?P<end>most|fewest) (?=(?:§ )*{many})",
        lambda m: best.append((("count",), m["end"] == "most")),
    )
    take(
        rf"\b(?:has|with|having) the (?P<end>highest|lowest) {figure} {noun} of",
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
    noun, other, many = rf"(?P<noun>{_either(nouns)})", rf"(?P<other>{_either(nouns)})", re.escape(table.many)
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
    yield rf"length of the {noun}", lambda m: ("length", name(m))
    yield rf"(?:per|by|in each|for each) {noun}(?=[ ,.?:])(?! (?:§ )?{many})", lambda m: None
    yield rf"(?P<word>{_either(FIGURES)}) {noun}", lambda m: (FIGURES[m["word"]], name(m))
    yield (
        rf"(?:[Hh]ow many|[Nn]umber of|[Cc]ount of|Count|Count all|Count the)(?= (?:the )?{many})",
        lambda m: ("count",),
    )
    yield rf"(?:(?:Show )?the )?{noun}(?: first| in front)\b", lambda m: ("first", name(m))
    yield noun, lambda m: ("column", name(m))
    yield r"(?:[Nn]umber|[Cc]ount)", lambda m: ("count",)


def _take_columns(asked: Asked, text: str, tables: tuple[Relation, ...]) -> str:
    """What is shown, leftmost first, the longest reading of each place."""
    patterns, at, left = list(_columns(text, tables)), 0, ""
    while at < len(text):
        matches = [
            (match.end(), -i, match)
            for i, (pattern, _) in enumerate(patterns)
            if (match := re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.I).match(text, at))
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
