"""Statements that change rows (data manipulation) or structure (data definition), all on one table."""

from random import Random

from common.synthetic import conditions, phrases, render
from common.synthetic.plan import Condition, Draft
from common.synthetic.tables import Misfit, Scene, literal

NEW_COLUMNS = (
    ("notes", "TEXT"),
    ("status", "TEXT"),
    ("rank", "INT"),
    ("code", "TEXT"),
    ("cost", "REAL"),
    ("tag", "TEXT"),
)
NEW_COLUMNS += (("score", "INT"), ("owner", "TEXT"), ("email", "TEXT"), ("color", "TEXT"), ("active", "INT"))


def _ways(questions: tuple[str, ...]) -> phrases.Frames:
    """The last way to ask is a fresh one."""
    return questions[:-1], questions[-1:]


def _sql(part: Condition) -> str:
    return render.condition(part, lambda field: field.sql)


def insert(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    label = table.label
    fresh = [value for value in label.column.values if value not in label.values]
    if not fresh:
        raise Misfit("no other name")
    cells = []
    for field in table.fields:
        value = rng.choice(fresh) if field is label else rng.choice(field.present)
        cells.append((field, max(table.size, *field.values) + 1 if field.kind == "key" else value))
    rest = [f"{field.noun} {value}" for field, value in cells if field is not label]
    name = next(value for field, value in cells if field is label)
    details = " and ".join((", ".join(rest[:-1]), rest[-1])) if len(rest) > 1 else rest[0]
    questions = (
        f"[Add|Insert] a new {table.one} [named|called] {name} with {details}.",
        f"Insert the {table.one} {name} with {details}.",
        f"Record a new {table.one}: {label.noun} {name}, {details}.",
        f"Register the {table.one} {name}, with {details}.",
    )
    columns = ", ".join(field.sql for field, _ in cells)
    values = ", ".join(literal(value) for _, value in cells)
    return Draft(
        *_ways(questions), statement=f"INSERT INTO {table.sql} ({columns}) VALUES ({values})", target=table.sql
    )


def update_one(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    field = table.pick(rng, "any")
    if field.kind in ("date", "year"):
        raise Misfit("a date stays")
    name = rng.choice(table.label.values)
    choices = field.column.values if field.kind == "group" else [conditions.cut(rng, field) + rng.randint(1, 9)]
    value = rng.choice(choices)
    questions = (
        f"[Set|Change] the {field.noun} of {name} to {value}.",
        f"[Update|Change] the {field.noun} of the {table.one} {name} to {value}.",
        f"Update the {table.one} {name}: the {field.noun} is now {value}.",
        f"The {field.noun} of the {table.one} {name} is now {value}; update it.",
    )
    sql = f"UPDATE {table.sql} SET {field.sql} = {literal(value)} WHERE {table.label.sql} = {literal(name)}"
    return Draft(*_ways(questions), statement=sql, target=table.sql)


def update_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    condition = conditions.some(rng, table, but=(number,))
    amount = rng.choice((1, 2, 3, 5, 10, 20))
    sign, [verb, by] = ("+", ["Increase|Raise", "by"]) if rng.random() < 0.6 else ("-", ["Reduce|Lower", "by"])
    phrase = "Add {} to" if sign == "+" else "Subtract {} from"
    questions = (
        f"[{verb}] the {number.noun} of {table.many} {condition.text} {by} {amount}.",
        f"[{verb}] the {number.noun} {by} {amount} for all {table.many} {condition.text}.",
        f"{phrase.format(amount)} the {number.noun} of {table.many} {condition.text}.",
        f"For {table.many} {condition.text}, {verb.split('|')[0].lower()} the {number.noun} {by} {amount}.",
    )
    sql = f"UPDATE {table.sql} SET {number.sql} = {number.sql} {sign} {amount} WHERE {_sql(condition)}"
    return Draft(*_ways(questions), statement=sql, target=table.sql)


def rename_group(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = table.pick(rng, "group")
    old = rng.choice(group.present)
    new = rng.choice([value for value in group.column.values if value != old])
    questions = (
        f"Change [every|the] {group.noun} {old} to {new} [in|for] the {table.many}.",
        f"Set the {group.noun} to {new} for all {table.many} whose {group.noun} is {old}.",
        f"Replace the {group.noun} {old} with {new} for all {table.many}.",
        f"Update {table.many}: {group.noun} {old} becomes {new}.",
    )
    sql = f"UPDATE {table.sql} SET {group.sql} = {literal(new)} WHERE {group.sql} = {literal(old)}"
    return Draft(*_ways(questions), statement=sql, target=table.sql)


def delete_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    condition = conditions.some(rng, table)
    questions = (
        f"[Delete|Remove] [all|the] {table.many} {condition.text}.",
        f"[Delete|Remove] every {table.one} {condition.text}.",
        f"Remove from the table all {table.many} {condition.text}.",
        f"Drop the rows of {table.many} {condition.text}.",
    )
    return Draft(*_ways(questions), statement=f"DELETE FROM {table.sql} WHERE {_sql(condition)}", target=table.sql)


def delete_one(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    name = rng.choice(table.label.values)
    questions = (
        f"[Delete|Remove] the {table.one} {name}.",
        f"[Delete|Remove] {name} from the {table.many}.",
        f"Delete the record of {name}.",
        f"The {table.one} {name} is gone; delete it.",
    )
    return Draft(
        *_ways(questions),
        statement=f"DELETE FROM {table.sql} WHERE {table.label.sql} = {literal(name)}",
        target=table.sql,
    )


def create_table(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    name = rng.choice(("archive", "backup", "log", "notes", "events", "tags", "history", "audit")) + rng.choice(
        ("", "_new", "_2")
    )
    fields = [("id", "INT"), *rng.sample(NEW_COLUMNS, rng.choice((1, 2, 2)))]
    kinds = {"INT": "integer", "TEXT": "text", "REAL": "real"}
    phrases = [f"{column} ({kinds[kind]})" for column, kind in fields]
    column_list = ", ".join(phrases[:-1]) + " and " + phrases[-1]
    questions = (
        f"Create a table [named|called] {name} with the columns {column_list}.",
        f"[Make|Define] a new table {name} with columns {column_list}.",
        f"We need a table {name} for the {table.many} with {column_list}; create it.",
    )
    columns = ", ".join(f"{column} {kind}" for column, kind in fields)
    return Draft(*_ways(questions), statement=f"CREATE TABLE {name} ({columns})")


def create_view(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    condition, label = conditions.some(rng, table), table.label
    name = (
        rng.choice(("chosen", "selected", "filtered", "special", "short", "my", "some"))
        + "_"
        + rng.choice(("view", table.sql))
    )
    questions = (
        f"Create a view [named|called] {name} with the {label.noun} of {table.many} {condition.text}.",
        f"[Make|Define] a view {name} showing the {label.noun} of {table.many} {condition.text}.",
        f"Create the view {name}, which lists the {label.noun} of {table.many} {condition.text}.",
    )
    select = f"SELECT {label.sql} FROM {table.sql} WHERE {_sql(condition)}"
    all_rows = f"SELECT {label.sql} FROM {table.sql}"
    return Draft(*_ways(questions), statement=f"CREATE VIEW {name} AS {select}", probe=select, weaker=all_rows)


def create_index(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    field = table.pick(rng, "any")
    name = f"idx_{field.sql}" if rng.random() < 0.6 else f"{table.sql}_{field.sql}"
    questions = (
        f"Create an index [named|called] {name} on the {field.noun} of the {table.many}.",
        f"Add an index {name} on the {field.sql} column of {table.sql}.",
        f"Index the {field.noun} of {table.many}; call the index {name}.",
    )
    return Draft(*_ways(questions), statement=f"CREATE INDEX {name} ON {table.sql} ({field.sql})")


def add_column(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    name, kind = rng.choice([c for c in NEW_COLUMNS if c[0] not in {f.sql for f in table.fields}])
    phrase = {"INT": "integer", "TEXT": "text", "REAL": "real"}[kind]
    questions = (
        f"Add {conditions.article(phrase)} column [named|called] {name} to [{table.sql}|the {table.many}].",
        f"Add a column {name} of type {phrase} to the {table.sql} table.",
        f"Give the {table.sql} table a new {phrase} column {name}.",
        f"[Extend|Alter] {table.sql} with {conditions.article(phrase)} column {name}.",
    )
    return Draft(*_ways(questions), statement=f"ALTER TABLE {table.sql} ADD COLUMN {name} {kind}")


def rename_column(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    field = table.pick(rng, "any")
    name = rng.choice(("new_", "old_", "main_", "short_")) + field.sql
    questions = (
        f"Rename the column {field.sql} of {table.sql} to {name}.",
        f"[Change|Alter] the name of the {field.sql} column in {table.sql} to {name}.",
        f"In the table {table.sql}, the column {field.sql} should be called {name}.",
    )
    return Draft(*_ways(questions), statement=f"ALTER TABLE {table.sql} RENAME COLUMN {field.sql} TO {name}")


def rename_table(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    name = rng.choice(("old_", "new_", "all_", "our_")) + table.sql
    questions = (
        f"Rename the {table.sql} table to {name}.",
        f"[Change|Alter] the name of the table {table.sql} to {name}.",
        f"The table {table.sql} should be called {name}; rename it.",
    )
    return Draft(*_ways(questions), statement=f"ALTER TABLE {table.sql} RENAME TO {name}")


def drop_table(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    questions = (
        f"[Drop|Delete|Remove] the {table.sql} table.",
        f"[Drop|Delete|Remove] the whole table of {table.many}.",
        f"[Drop|Remove] the table {table.sql} [completely|entirely].",
        f"We no longer need the table {table.sql}; drop it.",
    )
    return Draft(*_ways(questions), statement=f"DROP TABLE {table.sql}")
