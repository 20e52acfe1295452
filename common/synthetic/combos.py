"""Two lists made one: what is in either, in both, or in the first alone ("set operations"). Each value comes once."""

from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import joined, plurals
from common.synthetic.phrases import Frames, column
from common.synthetic.plan import Compound, Draft, Select
from common.synthetic.tables import Misfit, Relation, Scene


def _frames(op: str, noun: str, one: str, other: str) -> Frames:
    """Ways to combine two lists of `noun`; `one` and `other` say of which rows."""
    many = plurals(noun)
    if op == "union":
        common = (
            f"[Show|List] every {noun} of {one} and of {other}, each once.",
            f"[Give|Return] the {noun} of {one} together with the {noun} of {other}, without repeats.",
            f"Which different {many} occur among {one} or among {other}?",
        )
        return common, (f"Put the {noun} of {one} and of {other} in one list, without repeats.",)
    if op == "intersect":
        common = (
            f"Which {many} occur both among {one} and among {other}? [Show|List] each once.",
            f"[List|Find] each {noun} shared by {one} and {other}, without repeats.",
            f"[Show|Give] the different {many} that {one} have in common with {other}.",
        )
        return common, (f"Return every {noun} seen among {one} as well as among {other}, once.",)
    common = (
        f"Which {many} occur among {one} but not among {other}? [Show|List] each once.",
        f"[List|Find] each {noun} of {one} that is not a {noun} of {other}, without repeats.",
        f"[Show|Give] the different {many} of {one}, leaving out the {many} of {other}.",
    )
    return common, (f"Return every {noun} seen among {one} and never among {other}, once.",)


def _op(rng: Random) -> str:
    return rng.choice(("union", "intersect", "except"))


def filtered(rng: Random, scene: Scene) -> Draft:
    """One column of one table under two conditions."""
    table = scene.relations[0]
    field = table.pick(rng, rng.choice(("group", "group", "name")))
    phrases.sound(field)
    one = phrases.plain(rng, table, (field,))
    others = [phrases.plain(rng, table, (field, one.field))]
    if rng.random() < 0.2:
        others.append(phrases.plain(rng, table, (field, one.field, others[0].field)))
    op = _op(rng)
    parts = [Select(table, (column(field),), where) for where in ((one,), tuple(others))]
    texts = [f"{table.many} {joined(part.where)}" for part in parts]
    return Draft(*_frames(op, field.noun, *texts), Compound(op, *parts))


def of_two_tables(rng: Random, scene: Scene) -> Draft:
    """Columns of two tables that hold the same kind of thing."""
    one, other = scene.relations[:2]
    pairs = [(f, g) for f in _texts(one) for g in _texts(other) if set(f.column.values) & set(g.column.values)]
    if not pairs:
        raise Misfit("nothing in common")
    f, g = rng.choice(pairs)
    op = _op(rng)
    parts = []
    for table, field in ((one, f), (other, g)):
        where = (phrases.plain(rng, table, (field,)),) if rng.random() < 0.4 else ()
        parts.append(Select(table, (column(field),), where))
    first, second = [f"{t.many} {joined(p.where)}".strip() for t, p in zip((one, other), parts, strict=True)]
    ours, theirs = f"{plurals(f.noun)} of {first}", f"{plurals(g.noun)} of {second}"
    if op == "union":
        common = (
            f"[Show|List] the {ours} and the {theirs} in one list, without repeats.",
            f"[Give|Return] each different value among the {ours} and the {theirs}.",
        )
        fresh = (f"Put together the {ours} and the {theirs}, each once.",)
    else:
        also = "also" if op == "intersect" else "not"
        common = (
            f"Which {ours} are {also} {theirs}? [Show|List] each once.",
            f"[Find|Give] the {ours} that are {also} {theirs}, without repeats.",
        )
        fresh = (f"Return, each once, all {ours} that are {also} found among the {theirs}.",)
    return Draft(common, fresh, Compound(op, *parts))


def _texts(table: Relation) -> list:
    return [*table.all("name"), *table.all("group")]


def referred(rng: Random, scene: Scene) -> Draft:
    """The ids of one table that another refers to, or not."""
    parent, child = scene.relations[:2]
    op = rng.choice(("intersect", "except", "except"))
    key, ref = parent.field("key"), child.ref(parent)
    one = (phrases.plain(rng, parent),) if rng.random() < 0.85 else ()
    other = (phrases.plain(rng, child),) if rng.random() < 0.7 else ()
    parts = [Select(parent, (column(key),), one), Select(child, (column(ref),), other)]
    mine = f"{parent.many} {joined(one)}".strip()
    theirs = f"{child.many} {joined(other)}".strip()
    if op == "except":
        common = (
            f"[Show|List] the id of [all |]{mine} that no {theirs} refer to.",
            f"Which ids of {mine} do no {theirs} refer to?",
            f"[Find|Give] each id of {mine} without any {theirs}.",
        )
        fresh = (f"Ids of {mine} that no {theirs} refer to, please.",)
    else:
        common = (
            f"[Show|List] each id of {mine} that {theirs} refer to, once.",
            f"Which ids of {mine} do {theirs} refer to? List each once.",
            f"[Find|Give] the different ids of {mine} with {theirs}.",
        )
        fresh = (f"Ids of {mine} that {theirs} refer to, without repeats, please.",)
    return Draft(common, fresh, Compound(op, *parts))
