"""The mix of the data set: how often each complexity, and within it each family of queries, is drawn. The place to
tune it.

`SHARES` are percentages of the rows: gretel's, but at least five for each. A row of `FAMILIES` is: complexity, task
type, weight within the complexity, the family, the columns its tables need (see scene.draw), and what the reference
does, in words. Conditions, orders and figures that a family draws make some dozens of forms of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from common.synthetic import analytic, combos, grouping, linked, lists, nesting, rollups, steps, totals, writes
from common.synthetic.plan import Draft
from common.synthetic.tables import Scene

SHARES = {
    "basic SQL": 43,
    "aggregation": 19,
    "single join": 11,
    "multiple_joins": 5,
    "subqueries": 7,
    "window functions": 5,
    "set operations": 5,
    "CTEs": 5,
}

BASIC, GROUPS, JOIN, JOINS = "basic SQL", "aggregation", "single join", "multiple_joins"
NESTED, WINDOW, SETS, CTES = "subqueries", "window functions", "set operations", "CTEs"
GET, REPORT, CHANGE, DEFINE = "data retrieval", "analytics and reporting", "data manipulation", "data definition"
PAIR, TRIPLE = ("name group", "group number"), ("name", "number any", "name")
CHAIN = ("name any", "name", "number any")


@dataclass(frozen=True)
class Family:
    complexity: str
    task_type: str
    weight: float
    write: Callable[[Random, Scene], Draft]
    needs: tuple[str, ...]
    explanation: str
    nulls: bool = False
    chain: bool = False


# fmt: off
FAMILIES = (
    Family(BASIC, GET, 26, lists.some_rows, ("name group number",), "Returns columns of filtered rows."),
    Family(BASIC, GET, 3, lists.unknown, ("name any",), "Keeps rows by whether a value is recorded.", nulls=True),
    Family(BASIC, GET, 2.5, lists.whole_rows, ("name any any",), "Returns all columns of filtered rows."),
    Family(BASIC, GET, 4, lists.lookup, ("name any any",), "Finds one row by name and returns some of its values."),
    Family(BASIC, GET, 6, lists.ordered, ("name number",), "Sorts the rows by a column."),
    Family(BASIC, GET, 9, lists.best, ("name number group",), "Sorts by a column and keeps a single row."),
    Family(BASIC, GET, 6, lists.top, ("name number",), "Sorts by a number and keeps a few rows."),
    Family(BASIC, GET, 5, lists.distinct, ("group any",), "Returns each value of a column once."),
    Family(BASIC, GET, 5, lists.computed, ("name number number",), "Returns a name and a value computed from numbers."),
    Family(BASIC, GET, 2.5, lists.text_function, ("name any",), "Applies a text function to a column."),
    Family(BASIC, GET, 3, lists.labelled, ("name number",), "Labels every row by a threshold with CASE."),
    Family(BASIC, CHANGE, 3, writes.insert, ("name any",), "Inserts one row."),
    Family(BASIC, CHANGE, 1.8, writes.update_one, ("name any",), "Changes one value of the row with a given name."),
    Family(BASIC, CHANGE, 2.5, writes.update_where, ("number any",), "Changes a number in filtered rows."),
    Family(BASIC, CHANGE, 1, writes.rename_group, ("group",), "Moves the rows of one category to another."),
    Family(BASIC, CHANGE, 2.5, writes.delete_where, ("any any",), "Deletes filtered rows."),
    Family(BASIC, CHANGE, 0.8, writes.delete_one, ("name any",), "Deletes the row with a given name."),
    Family(BASIC, DEFINE, 1, writes.create_table, ("name any",), "Creates a table."),
    Family(BASIC, DEFINE, 1.4, writes.create_view, ("name any",), "Creates a view of filtered rows."),
    Family(BASIC, DEFINE, 1, writes.create_index, ("any any",), "Creates an index on one column."),
    Family(BASIC, DEFINE, 1.4, writes.add_column, ("any",), "Adds a column to the table."),
    Family(BASIC, DEFINE, 0.7, writes.rename_column, ("any",), "Renames a column."),
    Family(BASIC, DEFINE, 0.6, writes.rename_table, ("any",), "Renames the table."),
    Family(BASIC, DEFINE, 0.6, writes.drop_table, ("any",), "Drops the table."),
    Family(GROUPS, REPORT, 14, totals.count, ("group number any",), "Counts filtered rows."),
    Family(GROUPS, REPORT, 14, totals.figure, ("number any",), "Aggregates a number over filtered rows."),
    Family(GROUPS, REPORT, 7, totals.figures, ("number number any",), "Computes several figures over filtered rows."),
    Family(GROUPS, REPORT, 3, totals.spread, ("number any",), "Subtracts the smallest number from the largest."),
    Family(GROUPS, REPORT, 3, totals.rounded, ("number any",), "Averages a number and rounds the result."),
    Family(GROUPS, REPORT, 4, totals.distinct, ("group any",), "Counts the different values of a column."),
    Family(GROUPS, REPORT, 3, totals.share, ("number any",), "Computes the percentage of rows above a limit."),
    Family(GROUPS, REPORT, 14, grouping.each, ("group number any",), "Aggregates each group."),
    Family(GROUPS, REPORT, 6, grouping.each_two, ("group number number",), "Aggregates each group twice."),
    Family(GROUPS, REPORT, 4, grouping.two_groups, ("group group number",), "Aggregates each pair of groups."),
    Family(GROUPS, REPORT, 9, grouping.having, ("group number any",), "Keeps the groups by a figure."),
    Family(GROUPS, REPORT, 6, grouping.ordered, ("group number any",), "Aggregates each group and sorts them."),
    Family(GROUPS, REPORT, 8, grouping.best, ("group number any",), "Sorts groups and keeps the first."),
    Family(GROUPS, REPORT, 2, grouping.by_year, ("date number any",), "Computes a figure for each year of a date."),
    Family(GROUPS, REPORT, 3, grouping.count_above, ("group number",), "Counts each group's rows above a threshold."),
    Family(JOIN, GET, 8, linked.pairs, PAIR, "Joins two tables and returns columns of both."),
    Family(JOIN, GET, 7, linked.of_parent, PAIR, "Joins two tables and filters on what the rows refer to."),
    Family(JOIN, REPORT, 7, linked.figure, PAIR, "Joins two tables and aggregates over filtered rows."),
    Family(JOIN, REPORT, 9, rollups.each, PAIR, "Joins two tables and computes a figure for each group."),
    Family(JOIN, REPORT, 3, rollups.count_each, PAIR, "Counts referring rows with a left join, zero included."),
    Family(JOIN, GET, 2, linked.without, PAIR, "Finds the rows that nothing refers to with a left join."),
    Family(JOIN, GET, 5, linked.best, PAIR, "Joins two tables, sorts by a number and keeps the first row."),
    Family(JOIN, GET, 3, linked.distinct, PAIR, "Joins two tables and returns each value once."),
    Family(JOINS, GET, 4, linked.pairs, TRIPLE, "Joins three tables and returns columns of them."),
    Family(JOINS, REPORT, 3, linked.figure, TRIPLE, "Joins three tables and aggregates over filtered rows."),
    Family(JOINS, REPORT, 3, rollups.each, TRIPLE, "Joins three tables and computes a figure for each group."),
    Family(JOINS, GET, 2, linked.best, TRIPLE, "Joins three tables, sorts by a number and keeps the first row."),
    Family(JOINS, GET, 4, linked.pairs, CHAIN, "Follows two references and returns columns.", chain=True),
    Family(JOINS, GET, 3, linked.of_parent, CHAIN, "Follows two references and filters.", chain=True),
    Family(JOINS, REPORT, 3, linked.figure, CHAIN, "Follows two references and aggregates.", chain=True),
    Family(NESTED, GET, 4, nesting.show(nesting.whole), ("name number any",), "Compares numbers with the average."),
    Family(NESTED, GET, 3, nesting.show(nesting.group), ("name group number",), "Compares numbers with their group."),
    Family(NESTED, GET, 4, nesting.show(nesting.extreme, ties=True), ("name number any",), "Keeps rows at an extreme."),
    Family(NESTED, GET, 3, nesting.show(nesting.row), ("name number any",), "Compares numbers with a named row's."),
    Family(NESTED, GET, 2, nesting.show(nesting.alike), ("name group any",), "Keeps the rows like a named row."),
    Family(NESTED, GET, 7, nesting.show_related, PAIR, "Keeps rows by what refers to them."),
    Family(NESTED, REPORT, 3, nesting.figure, ("name group number number",), "Aggregates what a subquery picks."),
    Family(NESTED, REPORT, 3, nesting.figure, PAIR, "Aggregates rows by what refers to them."),
    Family(NESTED, GET, 2, nesting.of_extreme, PAIR, "Finds what certain other rows refer to."),
    Family(WINDOW, REPORT, 4, analytic.rank, ("name number group",), "Ranks every row by a number."),
    Family(WINDOW, REPORT, 3, analytic.running, ("name sum when",), "Adds up a number row by row."),
    Family(WINDOW, REPORT, 4, analytic.beside_group, ("name group number",), "Shows a group figure beside each row."),
    Family(WINDOW, REPORT, 2, analytic.neighbour, ("name number measure",), "Shows the neighbouring row's value."),
    Family(WINDOW, REPORT, 2, analytic.portion, ("name sum group",), "Shows each row's share of a total."),
    Family(WINDOW, REPORT, 4, analytic.best_in_group, ("name group number",), "Keeps the first row of each group."),
    Family(SETS, GET, 7, combos.filtered, ("name group any any",), "Combines the results of two filters."),
    Family(SETS, GET, 2, combos.of_two_tables, ("name group", "group"), "Combines columns of two tables."),
    Family(SETS, GET, 4, combos.referred, ("any", "any"), "Compares ids with those referred to."),
    Family(CTES, REPORT, 3, steps.around, ("group number any",), "Compares groups with their average."),
    Family(CTES, REPORT, 3, steps.extreme, ("group number any",), "Keeps the group at an extreme."),
    Family(CTES, REPORT, 2, steps.mean, ("group number any",), "Aggregates the groups' aggregates."),
    Family(CTES, REPORT, 1.5, steps.portion, ("group sum any",), "Computes each group's share of a total."),
    Family(CTES, REPORT, 2, steps.total, ("number number any",), "Keeps the first few rows and aggregates them."),
    Family(CTES, REPORT, 1.5, steps.difference, ("group number",), "Subtracts the figure of one group from another's."),
    Family(CTES, REPORT, 3, steps.linked, PAIR, "Computes a figure of the referring rows and joins it."),
)
# fmt: on
