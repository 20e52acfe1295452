"""Queries that show rows of one table ("basic SQL")."""

from dataclasses import replace
from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import cut, equals, listed, plurals, recorded
from common.synthetic.phrases import Rows, column
from common.synthetic.plan import Draft, Select, Term
from common.synthetic.tables import MONEY, Field, Misfit, Relation, Scene, comparable


def some_columns(rng: Random, table: Relation, number: int, but: tuple = ()) -> list[Field]:
    """Columns to show, the name first where there is one and it is drawn."""
    every = [f for f in table.fields if f.kind not in ("key", "ref") and f not in but]
    if len(every) < number:
        raise Misfit("columns")
    if table.has("name") and table.label not in but and rng.random() < 0.8:
        return [table.label, *rng.sample([f for f in every if f is not table.label], number - 1)]
    return rng.sample(every, number)


def _categories(fields: list[Field]) -> tuple[Field, ...]:
    """The categories among them: under a condition on one, showing it would tell nothing."""
    return tuple(f for f in fields if f.kind == "group")


def width(rng: Random) -> int:
    return rng.choices((1, 2, 3), (46, 38, 16))[0]


def some_rows(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    fields = some_columns(rng, table, width(rng))
    wanted = phrases.rows(rng, table, but=_categories(fields), counts=(0 if len(fields) == 1 else 8, 60, 36))
    plan = Select(table, tuple(map(column, fields)), wanted.where, wanted.any_of)
    return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted), plan)


def unknown(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    gappy = [f for f in table.all("any") if None in f.values]
    if not gappy:
        raise Misfit("no gap")
    fields = some_columns(rng, table, rng.choice((1, 1, 2)), but=tuple(gappy))
    where = [recorded(rng, gappy[0])]
    if rng.random() < 0.35:
        where.append(phrases.plain(rng, table, (gappy[0],)))
    wanted = Rows(table, tuple(where))
    return Draft(
        *phrases.column_frames(rng, [f.noun for f in fields], wanted),
        Select(table, tuple(map(column, fields)), wanted.where),
    )


def whole_rows(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    wanted = phrases.rows(rng, table, counts=(0, 70, 30))
    common = (
        f"[Show|List|Return] all columns of [the |]{wanted.many}.",
        f"[Show|Give|List] every column of [the |all |]{wanted.many}.",
        f"Which {wanted.many} are there? Show all columns.",
        f"[Find|Get] [the|all] {wanted.many}, with all their columns.",
    )
    fresh = (f"[Print|Pull up] the complete rows of {wanted.many}.",)
    return Draft(common, fresh, Select(table, (Term("all"),), wanted.where, wanted.any_of))


def lookup(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    label = table.label
    fields = some_columns(rng, table, rng.choice((1, 1, 2)), but=(label,))
    name, nouns = rng.choice(label.values), [f.noun for f in fields]
    cols, be = phrases.the(rng, nouns), phrases.is_or_are(nouns)
    common = (
        f"What {be} {cols} of [the {table.one} |]{name}?",
        f"[Show|Give|Find|Tell me] {cols} of [the {table.one} |]{name}.",
        f"For the {table.one} {name}, [show|give|return] {cols}.",
        f"[Look up|Get] {cols} of {name}.",
    )
    fresh = (f"{name}: what {be} {cols}?",)
    where = (equals(rng, label, value=name),)
    return Draft(common, fresh, Select(table, tuple(map(column, fields)), where))


def distinct(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    group = table.pick(rng, "group")
    wanted = phrases.rows(rng, table, but=(group,), counts=(30, 50, 20))
    order = rng.random() < 0.2
    end = f", {phrases.sorting(rng, group, False)}" if order else ""
    many, those = plurals(group.noun), wanted.many
    common = (
        f"[List|Show|Give] each different {group.noun} of [the |]{those}{end}.",
        f"Which different {many} do [the |]{those} have{end}?",
        f"[Show|Find] the {group.noun} of [all |]{those}, without repeats{end}.",
        f"What [different|distinct] {many} are there among {those}{end}?",
    )
    fresh = (f"Which {many} occur among {those}, each listed once{end}?",)
    by = ((column(group), False),) if order else ()
    plan = Select(table, (column(group),), wanted.where, wanted.any_of, distinct=True, order=by)
    return Draft(common, fresh, plan)


def computed(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    label, one = table.label, table.pick(rng, "number")
    phrases.sound(one)
    like_it = [f for f in table.all(one.kind) if f is not one and comparable(f, one)]
    kind = rng.choice(("times", "plus", "minus")) if like_it else "times"
    if kind == "times":
        if not MONEY & set(one.noun.split()):
            raise Misfit("nothing to multiply")
        factor = rng.choice((2, 3, 4, 5, 10, 12, 0.5, 1.1))
        value = Term("times", one, number=factor)
        words = rng.choice((f"{one.noun} times {factor}", f"{one.noun} multiplied by {factor}"))
    else:
        other = rng.choice(like_it)
        phrases.sound(other)
        value = Term(kind, one, other)
        words = f"{one.noun} plus {other.noun}" if kind == "plus" else f"{one.noun} minus {other.noun}"
    wanted = phrases.rows(rng, table, but=(one,), counts=(50, 40, 10))
    plan = Select(table, (column(label), value), wanted.where, wanted.any_of)
    return Draft(*phrases.column_frames(rng, [label.noun, words], wanted), plan)


def text_function(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    function, words = rng.choice(
        (
            ("upper", "{} in capital letters"),
            ("lower", "{} in lower case"),
            ("length", "number of characters in the {}"),
        )
    )
    text = table.pick(rng, "name" if function == "length" else rng.choice(("name", "group")))
    wanted = phrases.rows(rng, table, but=(text,), counts=(45, 40, 15))
    nouns, terms = [words.format(text.noun)], [Term(function, text)]
    if function == "length":
        nouns, terms = [text.noun, *nouns], [column(text), *terms]
    plan = Select(table, tuple(terms), wanted.where, wanted.any_of)
    return Draft(*phrases.column_frames(rng, nouns, wanted), plan)


def labelled(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    label, number = table.label, table.pick(rng, "number")
    phrases.sound(number)
    high, low = rng.choice((("high", "low"), ("big", "small"), ("above", "below"), ("yes", "no"), ("A", "B")))
    limit = cut(rng, number)
    wanted = phrases.rows(rng, table, but=(number,), counts=(55, 35, 10))
    name, noun = label.noun, number.noun
    common = (
        f"[Show|List] the {name} of each {wanted.one} and '{high}' if the {noun} is above {limit}, else '{low}'.",
        f"For each {wanted.one}, give the {name} and '{high}' where the {noun} is over {limit}, '{low}' otherwise.",
        f"Mark {wanted.many} '{high}' when the {noun} is over {limit} and '{low}' when not; show {name} and mark.",
    )
    fresh = (
        f"[Tag|Flag] each {wanted.one}, {name} first, as '{high}' ({noun} above {limit}) or '{low}' (all others).",
    )
    terms = (column(label), Term("label", number, number=limit, words=(high, low)))
    return Draft(common, fresh, Select(table, terms, wanted.where, wanted.any_of))


def ordered(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    fields = some_columns(rng, table, width(rng))
    keys = [f for f in (*table.all("number"), *table.all("when"), *table.all("name")) if None not in f.values]
    if not keys:
        raise Misfit("no key")
    key, down = rng.choice(keys), rng.random() < 0.55
    wanted = phrases.rows(rng, table, but=_categories(fields), counts=(45, 42, 13))
    order, end = [(column(key), down)], f", {phrases.sorting(rng, key, down)}"
    if not key.solid and table.has("name") and table.label is not key:
        order.append((column(table.label), False))
        end += f" and, where equal, by {table.label.noun} from A to Z"
    plan = Select(table, tuple(map(column, fields)), wanted.where, wanted.any_of, order=tuple(order))
    return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted, end), plan, ties=len(order) > 1)


def best(rng: Random, scene: Scene) -> Draft:
    """One row, or the row at a later place."""
    table = scene.relations[0]
    key, down = table.pick(rng, rng.choice(("number", "number", "measure")), solid=True), rng.random() < 0.6
    fields = some_columns(rng, table, rng.choice((1, 1, 2)), but=() if rng.random() < 0.3 else (key,))
    wanted = phrases.rows(rng, table, but=(key,), counts=(50, 40, 10), either=False)
    place, nouns = rng.choice((0, 0, 0, 0, 0, 1, 2)), [f.noun for f in fields]
    if not place and not wanted.where and (word := phrases.adjective(rng, key, down)):
        frames = phrases.best_frames(rng, nouns, replace(wanted, table=replace(table, one=f"{word} {table.one}")), "")
    else:
        ordinal = phrases.ORDINALS[place - 1] if place else ""
        frames = phrases.best_frames(rng, nouns, wanted, phrases.most(rng, key, down, ordinal))
    plan = Select(
        table,
        tuple(map(column, fields)),
        wanted.where,
        wanted.any_of,
        order=((column(key), down),),
        limit=1,
        offset=place,
    )
    return Draft(*frames, plan)


def top(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    key, down = table.pick(rng, "number"), rng.random() < 0.6
    fields = some_columns(rng, table, rng.choice((1, 2)))
    wanted = phrases.rows(rng, table, but=(key,), counts=(60, 33, 7), either=False)
    order, n = [(column(key), down)], rng.choice((2, 2, 3))
    first = "highest" if down else "lowest"
    end = f", {first} first"
    phrases.sound(key)
    if not key.solid:
        if not table.has("name"):
            raise Misfit("a tie")
        order.append((column(table.label), False))
        end += f" and, where equal, by {table.label.noun} from A to Z"
    nouns = [f.noun for f in fields]
    cols, _such = phrases.the(rng, nouns), f"{wanted.such} " if wanted.such else ""
    few = f"{n} {table.many} with the {first} {key.noun}"
    among = f" among the {wanted.many}" if wanted.such else ""
    common = (
        f"[Show|Give|Return] {cols} of the {few}{among}{end}.",
        f"Which {n} {wanted.many} have the {first} {key.noun}? [Show|Give] {cols}{end}.",
        f"[List|Find] the {few}{among}{end}: {cols}.",
        f"What are the {listed([plurals(noun) for noun in nouns])} of the {few}{among}{end}?",
    )
    fresh = (f"{'Top' if down else 'Bottom'} {n} by {key.noun} of the {wanted.many}{end}: give {cols}.",)
    plan = Select(table, tuple(map(column, fields)), wanted.where, wanted.any_of, order=tuple(order), limit=n)
    return Draft(common, fresh, plan, ties=len(order) > 1)
