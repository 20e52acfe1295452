"""Queries with a figure beside each row that other rows have a part in ("window functions")."""

from random import Random

from common.synthetic import phrases
from common.synthetic.phrases import Frames, Rows, column
from common.synthetic.plan import Draft, Select, Term
from common.synthetic.tables import Field, Misfit, Relation, Scene


def _by(rng: Random, table: Relation, share: float) -> Field | None:
    """The column whose values part the rows, or none."""
    if rng.random() > share or not table.has("group"):
        return None
    by = table.pick(rng, "group")
    phrases.sound(by)
    if len(set(by.values)) == table.size:
        raise Misfit("every part has one row")
    return by


def _beside(rng: Random, table: Relation, wanted: Rows, what: str) -> Frames:
    """Ways to ask for a name and a figure beside it. Conditions come before anything is computed, so they are said
    first."""
    label, one = table.label.noun, table.one
    first = rng.choice(("Consider only the {}. ", "Take only the {}. ")).format(wanted.many)
    start = first if wanted.where else ""
    common = (
        f"{start}[Show|List|Give] the {label} of each {one} and {what}.",
        f"{start}For each {one}, [show|give|return] the {label} and {what}.",
        f"{start}What are the {label} of each {one} and {what}?",
        f"{start}[List|Show] the {label} of every {one} together with {what}.",
    )
    return common, (f"{start}Report, per {one}, the {label} and, beside it, {what}.",)


def _rows(rng: Random, table: Relation, but: tuple) -> Rows:
    return phrases.rows(rng, table, but=tuple(f for f in but if f), counts=(66, 32, 2))


def _plan(table: Relation, term: Term, wanted: Rows) -> Select:
    return Select(table, (column(table.label), term), wanted.where, wanted.any_of)


def rank(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    key, down, by = table.pick(rng, "number"), rng.random() < 0.65, _by(rng, table, 0.45)
    phrases.sound(key)
    wanted = _rows(rng, table, (key, by))
    among = f" among {table.many} with the same {by.noun}" if by else ""
    what = f"the rank by {key.noun}{among}, {'highest' if down else 'lowest'} first, equal values sharing a rank"
    plan = _plan(table, Term("rank", other=key, by=by, down=down), wanted)
    return Draft(*_beside(rng, table, wanted, what), plan, ties=True)


def running(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    field, key = table.pick(rng, "sum"), table.pick(rng, "when", solid=True)
    phrases.sound(field)
    by = _by(rng, table, 0.3)
    wanted = _rows(rng, table, (field, key, by))
    within = f" among those with the same {by.noun}" if by else ""
    what = f"the [running total|cumulative sum] of {field.noun} up to there in order of {key.noun}{within}"
    return Draft(*_beside(rng, table, wanted, what), _plan(table, Term("running", field, key, by), wanted))


def beside_group(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    by = _by(rng, table, 1)
    kind = rng.choice(("group_avg", "group_max", "group_count", "gap"))
    field = None if kind == "group_count" else table.pick(rng, "number")
    wanted = _rows(rng, table, (field, by))
    noun, peers = field.noun if field else "", f"{table.many} with the same {by.noun}"
    what = {
        "group_avg": f"the average {noun} of {peers}",
        "group_max": f"the highest {noun} of {peers}",
        "group_count": f"the number of {peers}, that one included",
        "gap": f"the {noun} minus the average {noun} of {peers}",
    }[kind]
    return Draft(*_beside(rng, table, wanted, what), _plan(table, Term(kind, field, by=by), wanted))


def neighbour(rng: Random, scene: Scene) -> Draft:
    """The value of the row before or after."""
    table = scene.relations[0]
    key = table.pick(rng, "measure", solid=True)
    field = table.pick(rng, "number", but=(key,)) if rng.random() < 0.5 else key
    kind = rng.choice(("previous", "previous", "next"))
    wanted = _rows(rng, table, (field, key))
    what = f"the {field.noun} of the {kind} {table.one} in order of {key.noun}, empty where there is none"
    return Draft(*_beside(rng, table, wanted, what), _plan(table, Term(kind, field, key), wanted))


def portion(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    field, by = table.pick(rng, "sum"), _by(rng, table, 0.4)
    phrases.sound(field)
    wanted = _rows(rng, table, (field, by))
    of = f"of {table.many} with the same {by.noun}" if by else "of all of them"
    what = f"the share in percent of the total {field.noun} {of}, rounded to one decimal"
    return Draft(*_beside(rng, table, wanted, what), _plan(table, Term("portion", field, by=by), wanted))


def best_in_group(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    by, key, down = _by(rng, table, 1), table.pick(rng, "number"), rng.random() < 0.65
    phrases.sound(key)
    label, such = table.label, _rows(rng, table, (key, by))
    word = rng.choice(phrases.WORDS["max" if down else "min"])
    what = f"the {label.noun} of the {such.one} with the {word} {key.noun}"
    common = (
        f"For each {by.noun}, [show|give] the {by.noun} and {what} in it, ties included.",
        f"[Show|List] each {by.noun} with {what} there, ties included.",
        f"What is, per {by.noun}, {what}? Show {by.noun} and {label.noun}, ties included.",
    )
    fresh = (f"Per {by.noun}: the {by.noun}, then {what}; keep all ties.",)
    plan = Select(table, (column(by), column(label)), such.where, such.any_of, best=(by, key, down))
    return Draft(common, fresh, plan, ties=True)
