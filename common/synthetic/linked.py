"""Queries over two or three tables that refer to each other ("single join", "multiple_joins").

Scenes come as parent and child, as two parents with the child between them, or as a chain of three.
"""

from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import article, equals, joined
from common.synthetic.phrases import Rows, column
from common.synthetic.plan import Condition, Draft, Having, Link, Select, Term
from common.synthetic.tables import Field, Misfit, Relation, Scene


def links(scene: Scene) -> tuple[Relation, tuple[Link, ...], list[Relation]]:
    """The table whose rows a join has, its links, and the tables above it, nearest first."""
    tables = scene.relations
    if len(tables) == 2:
        parent, child = tables
        return child, (Link(parent, child, parent),), [parent]
    if scene.chain:
        top, middle, child = tables
        return child, (Link(middle, child, middle), Link(top, middle, top)), [middle, top]
    one, child, other = tables
    return child, (Link(one, child, one), Link(other, child, other)), [one, other]


def own(rng: Random, child: Relation, but: tuple = ()) -> Field:
    """What stands for a row of the child: its name, or another column."""
    if child.has("name") and rng.random() < 0.6:
        return child.label
    return child.pick(rng, "any", but=but)


def _that_belong(parents: list[Relation], wheres: list[tuple[Condition, ...]], chain: bool) -> str:
    """`that belong to farms in Kent`, for the parents under a condition."""
    texts = []
    for place, (parent, where) in enumerate(zip(parents, wheres, strict=True)):
        if not where:
            continue
        between = f"{parents[0].many} of " if chain and place else ""
        condition = where[0]
        if condition.field is parent.label and condition.kind == "compare" and condition.op == "=":
            texts.append(f"{between}the {parent.one} {condition.values[0]}")
        else:
            texts.append(f"{between}{parent.many} {joined(where)}")
    return f"that belong to {texts[0]}" if texts else ""


def _wanted(
    rng: Random, scene: Scene, but: tuple = (), weights: tuple = (20, 30, 35, 15)
) -> tuple[Rows, tuple[Condition, ...]]:
    """Rows of the child under conditions on itself, on a parent, or on both; and all the conditions."""
    child, _, parents = links(scene)
    what = rng.choices(("none", "own", "parent", "both"), weights)[0]
    inner = (phrases.plain(rng, child, but),) if what in ("own", "both") else ()
    wheres: list[tuple[Condition, ...]] = [() for _ in parents]
    if what in ("parent", "both"):
        place = rng.randrange(len(parents))
        parent = parents[place]
        if parent.has("name") and rng.random() < 0.35:
            wheres[place] = (equals(rng, parent.label, value=rng.choice(parent.label.values)),)
        else:
            wheres[place] = (phrases.plain(rng, parent, but),)
    beside = _that_belong(parents, wheres, scene.chain)
    every = inner + tuple(c for where in wheres for c in where)
    return Rows(child, inner, beside=beside), every


def _beside(
    rng: Random, scene: Scene, parent: Relation, but: tuple, share: float
) -> tuple[Rows, tuple[Condition, ...]]:
    """Rows of the child, a `share` of them under a condition on themselves; of three tables, under one on the parent
    that is not `parent`; and all the conditions."""
    child, _, parents = links(scene)
    inner = (phrases.plain(rng, child, but),) if rng.random() < share else ()
    others = [(phrases.plain(rng, p, but),) if p is not parent else () for p in parents]
    beside = _that_belong(parents, others, scene.chain)
    return Rows(child, inner, beside=beside), inner + tuple(c for where in others for c in where)


def _noun(field: Field, child: Relation, parents: list[Relation]) -> str:
    """How a question calls a column: `crop`, or `name of the farm`."""
    if field.table == child.sql:
        return field.noun
    return f"{field.noun} of the {next(p.one for p in parents if p.sql == field.table)}"


def _key(parent: Relation) -> Term:
    """What makes one group of each parent, whatever its name."""
    return column(parent.field("key"))


def pairs(rng: Random, scene: Scene) -> Draft:
    """Columns of both sides."""
    child, joins, parents = links(scene)
    fields = [own(rng, child), *[_parents_column(rng, parent) for parent in parents[: rng.choice((1, 2))]]]
    if len(parents) > 1 and rng.random() < 0.4:
        fields = fields[1:] if len(fields) > 2 else fields
    if rng.random() < 0.3:
        fields = fields[::-1]
    wanted, where = _wanted(rng, scene, tuple(fields), (25, 30, 25, 20))
    order, end = (), ""
    if rng.random() < 0.2 and child.all("number"):
        key, down = child.pick(rng, "number", solid=True), rng.random() < 0.6
        order, end = ((column(key), down),), f", {phrases.sorting(rng, key, down)}"
    nouns = [_noun(f, child, parents) for f in fields]
    plan = Select(child, tuple(map(column, fields)), where, links=_needed(joins, fields, where), order=order)
    return Draft(*phrases.asked(rng, nouns, wanted, end), plan)


def _parents_column(rng: Random, parent: Relation) -> Field:
    return parent.label if parent.has("name") and rng.random() < 0.75 else parent.pick(rng, "any")


def _needed(joins: tuple[Link, ...], fields: list[Field], where: tuple[Condition, ...]) -> tuple[Link, ...]:
    """The links to tables that are shown or asked about; a table of a chain needs those before it."""
    names = {f.table for f in fields} | {c.field.table for c in where}
    last = max((n for n, link in enumerate(joins) if link.relation.sql in names), default=-1)
    if last < 0:
        raise Misfit("one table would do")
    chain = len(joins) > 1 and joins[1].child is joins[0].relation
    links = joins[: last + 1] if chain else tuple(link for link in joins if link.relation.sql in names)
    if len(links) < len(joins):
        raise Misfit("fewer tables would do")
    return links


def of_parent(rng: Random, scene: Scene) -> Draft:
    """Columns of the child under a condition on what it belongs to."""
    child, joins, parents = links(scene)
    fields = [own(rng, child)]
    if rng.random() < 0.4:
        fields.append(child.pick(rng, "any", but=tuple(fields)))
    wanted, where = _wanted(rng, scene, tuple(fields), (0, 0, 62, 38))
    plan = Select(child, tuple(map(column, fields)), where, links=_needed(joins, [], where))
    return Draft(*phrases.asked(rng, [f.noun for f in fields], wanted), plan)


def figure(rng: Random, scene: Scene) -> Draft:
    """A count or another figure over the child's rows under a condition on what they belong to."""
    child, joins, _ = links(scene)
    if rng.random() < 0.4:
        wanted, where = _wanted(rng, scene, (), (0, 0, 60, 40))
        plan = Select(child, (Term("count"),), where, links=_needed(joins, [], where))
        return Draft(*phrases.asked_count(wanted), plan)
    term, words = phrases.measure(rng, child)
    wanted, where = _wanted(rng, scene, (term.field,), (0, 0, 70, 30))
    plan = Select(child, (term,), where, links=_needed(joins, [], where))
    return Draft(*phrases.asked_value(f"the {words}", wanted), plan)


def each(rng: Random, scene: Scene) -> Draft:
    """A figure of the children of each parent that has some, or of each category of parent; sorted or limited at times."""
    child, joins, parents = links(scene)
    parent = rng.choice(parents)
    group = parent.label if parent.has("name") and rng.random() < 0.6 else parent.pick(rng, "group")
    phrases.sound(group)
    if rng.random() < 0.35:
        term, noun = Term("count"), "number"
    else:
        term, noun = phrases.measure(rng, child)
    but = tuple(f for f in (term.field, group) if f)
    wanted, inner = _beside(rng, scene, parent, but, 0.3)
    down, many = rng.random() < 0.65, wanted.many
    key = _key(parent) if group is parent.label else column(group)
    plan = {"where": inner, "links": _needed(joins, [group], inner), "group": (key,)}
    by = f"{parent.one}" if group is parent.label else f"{group.noun} of the {parent.one}"
    label = f"{group.noun} of the {parent.one}" if group is parent.label else group.noun
    kind = rng.choices(("all", "order", "best", "having"), (50, 16, 20, 14))[0]
    if kind == "best":
        most = (
            f"the {'most' if down else 'fewest'} {many}"
            if term.function == "count"
            else f"the {'highest' if down else 'lowest'} {noun} of {many}"
        )
        common = (
            f"Which {by} has {most}? [Show|Give] the {label}.",
            f"[Find|Show|Give] the {label} with {most}.",
            f"What is the {label} that has {most}?",
        )
        fresh = (f"Name the {label} having {most}.",)
        return Draft(common, fresh, Select(child, (column(group),), **plan, order=((term, down),), limit=1))
    if kind == "having":
        number = rng.choice((1, 1, 2))
        words = f"more than {number} {wanted.one if number == 1 else many}"
        common = (
            f"Which {by} has {words}? [Show|Give] the {label}.",
            f"[List|Find|Show] the {label} for each {by} with {words}.",
            f"[Show|Give] the {label} wherever there are {words}.",
        )
        fresh = (f"Return the {label} of each {by} counting {words}.",)
        return Draft(
            common, fresh, Select(child, (column(group),), **plan, having=(Having(Term("count"), ">", number),))
        )
    order, end = (), ""
    if kind == "order":
        order, end = ((term, down),), f", {'highest' if down else 'lowest'} {noun} first"
    common = (
        f"For each {by} that has {many}, [show|give] the {label} and the {noun} of {'them' if term.function == 'count' else 'its ' + many}{end}.",
        f"[Show|List] the {label} and the {noun} of {many} for each {by} that has any{end}.",
        f"[Report|Give] {label} and {noun} of {many} per {by}, leaving out those without any{end}.",
    )
    fresh = (f"Break down {many} by {by}: the {label}, then the {noun}{end}.",)
    return Draft(common, fresh, Select(child, (column(group), term), **plan, order=order))


def count_each(rng: Random, scene: Scene) -> Draft:
    """Parents without children count as zero, and the question says so."""
    parent, child = scene.relations
    label = parent.label
    where = (phrases.plain(rng, parent, (label,)),) if rng.random() < 0.35 else ()
    wanted = Rows(parent, where)
    common = (
        f"How many {child.many} does each {wanted.one} have, 0 included? Show the {label.noun} and the number.",
        f"[Show|List] the {label.noun} of every {wanted.one} and its number of {child.many}, even if it is 0.",
        f"For each {wanted.one}, also those without any, [show|give] the {label.noun} and the number of {child.many}.",
    )
    fresh = (f"Count the {child.many} of every {wanted.one}, with 0 where there are none; {label.noun} first.",)
    joins = (Link(child, child, parent, outer=True),)
    terms = (column(label), Term("count", child.ref(parent)))
    return Draft(common, fresh, Select(parent, terms, where, links=joins, group=(_key(parent),)))


def without(rng: Random, scene: Scene) -> Draft:
    """Parents that nothing refers to."""
    parent, child = scene.relations
    fields = [parent.label] + ([parent.pick(rng, "any")] if rng.random() < 0.3 else [])
    missing = Condition("missing", child.ref(parent), f"without any {child.one}")
    where = (missing, phrases.plain(rng, parent, (parent.label,))) if rng.random() < 0.4 else (missing,)
    wanted = Rows(parent, where)
    plan = Select(parent, tuple(map(column, fields)), where, links=(Link(child, child, parent, outer=True),))
    return Draft(*phrases.asked(rng, [f.noun for f in fields], wanted), plan)


def best(rng: Random, scene: Scene) -> Draft:
    """The child's row with the highest number, told by what it belongs to."""
    child, joins, parents = links(scene)
    key, down = child.pick(rng, "number", solid=True), rng.random() < 0.6
    parent = rng.choice(parents)
    fields = [_parents_column(rng, parent)] + ([own(rng, child, (key,))] if rng.random() < 0.4 else [])
    wanted, where = _beside(rng, scene, parent, (key, *fields), 0.35)
    before, behind = phrases.most(rng, key, down)
    one = " ".join(f"{before}{child.one} {wanted.such} {behind}".split())
    nouns = [_noun(f, child, parents) for f in fields]
    plan = Select(
        child,
        tuple(map(column, fields)),
        where,
        links=_needed(joins, fields, where),
        order=((column(key), down),),
        limit=1,
    )
    return Draft(*phrases.asked_one(rng, nouns, one), plan)


def distinct(rng: Random, scene: Scene) -> Draft:
    """Parents that have a child of a kind, each once."""
    parent, child = scene.relations
    condition = phrases.plain(rng, child)
    field = parent.label if rng.random() < 0.7 else parent.pick(rng, "group")
    common = (
        f"Which different values of {field.noun} do {parent.many} with {article(child.one)} {condition.text} have?",
        f"[List|Show] the {field.noun} of [all |]{parent.many} that have {article(child.one)} {condition.text}, without repeats.",
        f"[Find|Give] each different {field.noun} of {parent.many} with any {child.one} {condition.text}.",
    )
    fresh = (f"Name every {field.noun} of {parent.many} having {article(child.one)} {condition.text}, once each.",)
    joins = (Link(child, child, parent),)
    return Draft(common, fresh, Select(parent, (column(field),), (condition,), links=joins, distinct=True))
