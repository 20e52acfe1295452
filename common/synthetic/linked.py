"""Rows of two or three tables that refer to each other ("single join", "multiple_joins").

Scenes come as parent and child, as two parents with the child between them, or as a chain of three.
"""

from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import article, equals, joined, listed, of_one, plurals
from common.synthetic.phrases import Rows, column
from common.synthetic.plan import Condition, Draft, Link, Select, Term
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


def childs_column(rng: Random, child: Relation, but: tuple = ()) -> Field:
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
    return f"that belong to {' and to '.join(texts)}" if texts else ""


def _wanted(
    rng: Random, scene: Scene, but: tuple = (), weights: tuple = (20, 30, 35, 15)
) -> tuple[Rows, tuple[Condition, ...]]:
    """Rows of the child under conditions on itself, on a parent, or on both; and all the conditions."""
    child, _, parents = links(scene)
    what = rng.choices(("none", "itself", "parent", "both"), weights)[0]
    inner = (phrases.plain(rng, child, but),) if what in ("itself", "both") else ()
    wheres: list[tuple[Condition, ...]] = [() for _ in parents]
    if what in ("parent", "both"):
        # Of three tables all are needed: both parents, or, in a chain, the one at the top.
        for place in range(len(parents)) if not scene.chain else (len(parents) - 1,):
            parent = parents[place]
            if parent.has("name") and rng.random() < 0.35:
                wheres[place] = (equals(rng, parent.label, value=rng.choice(parent.label.values)),)
            else:
                wheres[place] = (phrases.plain(rng, parent, but),)
    beside = _that_belong(parents, wheres, scene.chain)
    every = inner + tuple(c for where in wheres for c in where)
    return Rows(child, inner, beside=beside), every


def beside_rows(
    rng: Random, scene: Scene, parent: Relation, but: tuple, share: float
) -> tuple[Rows, tuple[Condition, ...]]:
    """Rows of the child, a `share` of them under a condition on themselves; of three tables, under one on the parent
    that is not `parent`; and all the conditions."""
    child, _, parents = links(scene)
    inner = (phrases.plain(rng, child, but),) if rng.random() < share else ()
    others = [(phrases.plain(rng, p, but),) if p is not parent else () for p in parents]
    beside = _that_belong(parents, others, scene.chain)
    return Rows(child, inner, beside=beside), inner + tuple(c for where in others for c in where)


def _noun(field: Field, tables: tuple[Relation, ...]) -> str:
    """How a question calls a column of one of several tables: `farm's name`."""
    return f"{next(table.one for table in tables if table.sql == field.table)}'s {field.noun}"


def _pair_frames(rng: Random, nouns: list[str], wanted: Rows, end: str) -> phrases.Frames:
    """Ways to ask for columns of a row and of those it belongs to."""
    cols, one, many = listed([f"the {noun}" for noun in nouns]), wanted.one, wanted.many
    common = (
        f"For each {one}, [show|give|list|return] {cols}{end}.",
        f"[Show|List|Give|Return] {cols} for [each|every] {one}{end}.",
        f"[Go through|Take] [all|the] {many} and [show|list|return] {cols} of each{end}.",
        f"[I need|I want to see] {cols} for all {many}{end}.",
        f"Which {many} are there? [Show|Give] {cols} for each{end}.",
    )
    return common, (f"Report, per {one}, {cols}{end}.",)


def pairs(rng: Random, scene: Scene) -> Draft:
    """Columns of both sides."""
    child, joins, parents = links(scene)
    fields = [childs_column(rng, child), *[_parents_column(rng, parent) for parent in parents[: rng.choice((1, 2))]]]
    if len(parents) > 1 and rng.random() < 0.4:
        fields = fields[1:] if len(fields) > 2 else fields
    if rng.random() < 0.3:
        fields = fields[::-1]
    wanted, where = _wanted(rng, scene, tuple(fields), (25, 30, 25, 20))
    order, end = (), ""
    if rng.random() < 0.2 and child.all("number"):
        key, down = child.pick(rng, "number", solid=True), rng.random() < 0.6
        order, end = ((column(key), down),), f", {phrases.sorting(rng, key, down)}"
    nouns = [_noun(f, scene.relations) for f in fields]
    plan = Select(child, tuple(map(column, fields)), where, links=needed(joins, fields, where), order=order)
    return Draft(*_pair_frames(rng, nouns, wanted, end), plan)


def _parents_column(rng: Random, parent: Relation) -> Field:
    return parent.label if parent.has("name") and rng.random() < 0.75 else parent.pick(rng, "any")


def needed(joins: tuple[Link, ...], fields: list[Field], where: tuple[Condition, ...]) -> tuple[Link, ...]:
    """The links to tables that are terms or asked about; a table of a chain needs those before it."""
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
    fields = [childs_column(rng, child)]
    if rng.random() < 0.4:
        fields.append(child.pick(rng, "any", but=tuple(fields)))
    wanted, where = _wanted(rng, scene, tuple(fields), (0, 0, 62, 38))
    plan = Select(child, tuple(map(column, fields)), where, links=needed(joins, [], where))
    return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted), plan)


def figure(rng: Random, scene: Scene) -> Draft:
    """A count or another figure over the child's rows under a condition on what they belong to."""
    child, joins, _ = links(scene)
    if rng.random() < 0.4:
        wanted, where = _wanted(rng, scene, (), (0, 0, 60, 40))
        plan = Select(child, (Term("count"),), where, links=needed(joins, [], where))
        return Draft(*phrases.count_frames(wanted), plan)
    term, words = phrases.measure(rng, child)
    wanted, where = _wanted(rng, scene, (term.field,), (0, 0, 70, 30))
    plan = Select(child, (term,), where, links=needed(joins, [], where))
    return Draft(*phrases.value_frames(f"the {words}", wanted), plan)


def without(rng: Random, scene: Scene) -> Draft:
    """Parents that nothing refers to."""
    parent, child = scene.relations
    fields = [parent.label] + ([parent.pick(rng, "any")] if rng.random() < 0.3 else [])
    missing = Condition("missing", child.ref(parent), f"without any {child.one}")
    where = (missing, phrases.plain(rng, parent, (parent.label,))) if rng.random() < 0.85 else (missing,)
    wanted = Rows(parent, where)
    plan = Select(parent, tuple(map(column, fields)), where, links=(Link(child, child, parent, outer=True),))
    return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted), plan)


def best(rng: Random, scene: Scene) -> Draft:
    """The child's row with the highest number, told by what it belongs to."""
    child, joins, parents = links(scene)
    key, down = child.pick(rng, "number", solid=True), rng.random() < 0.6
    parent = rng.choice(parents)
    fields = [_parents_column(rng, parent)] + ([childs_column(rng, child, (key,))] if rng.random() < 0.4 else [])
    wanted, where = beside_rows(rng, scene, parent, (key, *fields), 0.35)
    nouns, most = [_noun(f, scene.relations) for f in fields], phrases.most(rng, key, down)
    cols, many, has = listed([f"the {noun}" for noun in nouns]), wanted.many, most.replace("with ", "has ", 1)
    common = (
        f"[Of|Among] [all|the] {many}, which one {has}? [Show|Give] {cols}.",
        f"[Find|Take], [of|among] [all|the] {many}, the one {most} and [show|give|return] {cols}.",
        f"Which of the {many} {has}? [Show|Give|Return] {cols}.",
    )
    fresh = (f"Looking at all {many}, state {cols} for the one {most}.",)
    plan = Select(
        child,
        tuple(map(column, fields)),
        where,
        links=needed(joins, fields, where),
        order=((column(key), down),),
        limit=1,
    )
    return Draft(common, fresh, plan)


def distinct(rng: Random, scene: Scene) -> Draft:
    """Parents that have a child of a kind, each once."""
    parent, child = scene.relations
    condition = phrases.plain(rng, child)
    field = parent.label if rng.random() < 0.7 else parent.pick(rng, "group")
    such = f"that have {article(child.one)} {of_one(condition.text)}"
    common = (
        f"Which different {plurals(field.noun)} do the {parent.many} {such} have?",
        f"[List|Show] the {field.noun} of [all |]{parent.many} {such}, without repeats.",
        f"[Find|Give] each different {field.noun} of {parent.many} {such}.",
    )
    fresh = (f"Which {plurals(field.noun)}, each listed once, occur among {parent.many} {such}?",)
    joins = (Link(child, child, parent),)
    return Draft(common, fresh, Select(parent, (column(field),), (condition,), links=joins, distinct=True))
