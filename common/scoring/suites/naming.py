"""Which columns name or number the rows of their table: by what they are called, and by what the given rows hold.

Such columns stay unique in databases that are like the given one, so that GROUP BY a name is as good as GROUP BY a key.
English names; of others only what the rows show. A column whose given values repeat never counts.
"""

import re
from collections.abc import Sequence
from functools import cache

ENOUGH_ROWS = 12  # so many different texts in a column without one twice are no chance
FEWEST_ROWS = 3  # for the first text of a row that has no other name
_NAMING = re.compile(
    r"^(.*?)_?(id|name|title|nick|nickname|email|code|key|number|no|isbn|sku|username|uuid|ssn|label|plate|symbol|model"
    r"|abbreviation|abbrev|acronym|iata|icao|slug|barcode|vin|serial|handle|login|callsign|phone)$"
)
# Columns of these meanings say what kind of thing a row is; some rows without a repetition say nothing.
_KIND_OF_ROW = re.compile(
    r"type|categor|district|province|county|nation|citizen|status|kind|class|level|grade|gender|sex|city|town|state|countr|region|location|place|colou?r|depart"
    r"|genre|language|role|position|source|method|mode|size|unit|currency|nationality|religion|industry|sector|season"
    r"|month|day|year|date|time|descri|note|comment|address|reason|result|team|group|brand|section|area|street|format"
    r"|theme|major|manufactur|maker|owner|party|material|value|text|remark|detail|rating|priority|shift|zone|specialty"
)
_WHOLE = {
    "people": "person", "men": "man", "children": "child", "mice": "mouse", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "lice": "louse", "oxen": "ox", "data": "datum", "media": "medium", "criteria": "criterion",
    "phenomena": "phenomenon", "alumni": "alumnus", "syllabi": "syllabus", "indices": "index", "matrices": "matrix",
    "vertices": "vertex", "appendices": "appendix", "analyses": "analysis", "diagnoses": "diagnosis",
    "theses": "thesis",
    "crises": "crisis", "hypotheses": "hypothesis", "bases": "base", "wives": "wife", "knives": "knife",
    "lives": "life", "quizzes": "quiz", "staff": "staff", "personnel": "person", "staves": "staff",
}  # fmt: skip
_ENDINGS = (("ies", "y"), ("ies", "ie"), ("ves", "f"), ("es", ""), ("s", ""))


@cache
def singulars(name: str) -> frozenset[str]:
    """What a table's or column's name may mean in the singular, the name itself among it; in lower case.

    Only the last word of a compound name changes: product_categories is product_category.
    """
    name = name.casefold()
    forms = {name, name.strip("_")}
    for plural, singular in _WHOLE.items():
        if name.endswith(plural):
            forms.add(name[: len(name) - len(plural)] + singular)
    for ending, singular in _ENDINGS:
        if name.endswith(ending) and len(name) > len(ending) + 1 and not name.endswith("ss"):
            forms.add(name[: len(name) - len(ending)] + singular)
    return frozenset(forms)


def is_name(column: str, table: str) -> bool:
    """Whether a column is called like one that names the rows of its own table, not another's: id, staff_id, name."""
    column, tables = column.casefold(), singulars(table)
    if column in tables:
        return True
    match = _NAMING.match(column)
    if match is None:
        return False
    stems = singulars(match[1].strip("_")) - {""}
    if not stems or stems & {"first", "last", "full", "user", "common", "short", "long", "official"}:
        return True
    return any(stem in form or form in stem for stem in stems for form in tables)


def is_label(column: str, table: str, values: Sequence[object], *, first: bool) -> bool:
    """Whether texts that never repeat name the rows though the column is not called so.

    values: all different. first: it is the first text of a row, and no other column has a name's name.
    """
    if _KIND_OF_ROW.search(column.casefold()):
        return False
    return len(values) >= ENOUGH_ROWS or (first and len(values) >= FEWEST_ROWS)
