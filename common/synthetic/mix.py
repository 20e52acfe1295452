"""The mix of the data set: how often each complexity, and within it each query, is drawn. The place to tune it.

`SHARES` are percentages of the rows. A row of `QUERIES` is: complexity, task type, weight within the complexity, the
query, the columns its tables need (see scene.draw), and what the reference does, in words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from common.synthetic import aggregates, analytic, basic, chains, groups, joins, nested, sorting, writes
from common.synthetic.check import Draft
from common.synthetic.scene import Scene

SHARES = {
    "basic SQL": 42,
    "aggregation": 28,
    "single join": 11,
    "multiple_joins": 3,
    "subqueries": 7,
    "window functions": 3,
    "set operations": 3,
    "CTEs": 3,
}

BASIC, GROUPS, JOIN, JOINS = "basic SQL", "aggregation", "single join", "multiple_joins"
NESTED, WINDOW, SETS, CTES = "subqueries", "window functions", "set operations", "CTEs"
GET, REPORT, CHANGE, DEFINE = "data retrieval", "analytics and reporting", "data manipulation", "data definition"
ONE_ANY, ONE_NUMBER = ("name any",), ("name number",)
GROUP_NUMBER = ("group number",)
FULL = ("name group number",)


@dataclass(frozen=True)
class Query:
    complexity: str
    task_type: str
    weight: float
    write: Callable[[Random, Scene], Draft]
    needs: tuple[str, ...]
    explanation: str
    nulls: bool = False


# fmt: off
QUERIES = (
    Query(BASIC, GET, 5, basic.equal, ("name group",), "Keeps rows of one category."),
    Query(BASIC, GET, 7, basic.above, ONE_NUMBER, "Keeps rows whose number is on one side of a threshold."),
    Query(BASIC, GET, 2, basic.when, ("name when",), "Keeps rows of a time span."),
    Query(BASIC, GET, 2, basic.between, ("name measure",), "Keeps rows whose number lies in a range."),
    Query(BASIC, GET, 2, basic.among, ("name group",), "Keeps rows of either of two categories."),
    Query(BASIC, GET, 2, basic.like, ("name any",), "Keeps rows whose name matches a pattern."),
    Query(BASIC, GET, 2, basic.unknown, ("name any",), "Keeps rows by whether a value is recorded.", nulls=True),
    Query(BASIC, GET, 3, basic.both, ("name any any",), "Keeps rows that meet both conditions."),
    Query(BASIC, GET, 2, basic.either, ("name any any",), "Keeps rows that meet either condition."),
    Query(BASIC, GET, 2, basic.unlike, ("name group",), "Keeps rows outside one category."),
    Query(BASIC, GET, 2, basic.columns, ("name any any",), "Returns two columns of every row."),
    Query(BASIC, GET, 5, basic.columns_where, ("name any any",), "Returns two columns of filtered rows."),
    Query(BASIC, GET, 2, basic.everything, ONE_ANY, "Returns all columns of filtered rows."),
    Query(BASIC, GET, 5, basic.lookup, ONE_ANY, "Finds one row by name, returns one of its values."),
    Query(BASIC, GET, 3, sorting.sort, ONE_NUMBER, "Returns every name, sorted by a number."),
    Query(BASIC, GET, 2, sorting.sort_where, ("name number any",), "Filters the rows, then sorts them by a number."),
    Query(BASIC, GET, 1, sorting.alphabet, ONE_ANY, "Returns every name in alphabetical order."),
    Query(BASIC, GET, 4, sorting.most, ONE_NUMBER, "Sorts by a number and keeps the first row."),
    Query(BASIC, GET, 3, sorting.top, ONE_NUMBER, "Sorts by a number and keeps the first few rows."),
    Query(BASIC, GET, 1, sorting.second, ONE_NUMBER, "Sorts by a number and keeps the second row."),
    Query(BASIC, GET, 3, basic.distinct, ("group",), "Returns each value of a column once."),
    Query(BASIC, GET, 1, basic.label_case, ONE_NUMBER, "Labels every row by a threshold with CASE."),
    Query(BASIC, GET, 2, basic.arithmetic, ONE_NUMBER, "Returns a name and a value computed from a number."),
    Query(BASIC, GET, 1, basic.text_function, ONE_ANY, "Applies a text function to every name."),
    Query(BASIC, CHANGE, 3, writes.insert, ("name any",), "Inserts one row."),
    Query(BASIC, CHANGE, 2, writes.update_one, ("name any",), "Changes one value of the row with a given name."),
    Query(BASIC, CHANGE, 2, writes.update_where, ("number any",), "Changes a number in filtered rows."),
    Query(BASIC, CHANGE, 1, writes.rename_group, ("group",), "Moves the rows of one category to another."),
    Query(BASIC, CHANGE, 2.5, writes.delete_where, ("any any",), "Deletes filtered rows."),
    Query(BASIC, CHANGE, 1.5, writes.delete_one, ONE_ANY, "Deletes the row with a given name."),
    Query(BASIC, DEFINE, 1.5, writes.create_table, ONE_ANY, "Creates a table."),
    Query(BASIC, DEFINE, 1.5, writes.create_view, ONE_ANY, "Creates a view of filtered rows."),
    Query(BASIC, DEFINE, 1, writes.create_index, ("any any",), "Creates an index on one column."),
    Query(BASIC, DEFINE, 1.5, writes.add_column, ("any",), "Adds a column to the table."),
    Query(BASIC, DEFINE, 0.7, writes.rename_column, ("any",), "Renames a column."),
    Query(BASIC, DEFINE, 0.7, writes.rename_table, ("any",), "Renames the table."),
    Query(BASIC, DEFINE, 0.7, writes.drop_table, ("any",), "Drops the table."),
    Query(GROUPS, REPORT, 1, aggregates.count_all, ("any",), "Counts all rows."),
    Query(GROUPS, REPORT, 6, aggregates.count_where, ("any any",), "Counts filtered rows."),
    Query(GROUPS, REPORT, 2, aggregates.count_both, ("any any",), "Counts rows by two conditions."),
    Query(GROUPS, REPORT, 4, aggregates.whole, ("number",), "Aggregates a number over all rows."),
    Query(GROUPS, REPORT, 5, aggregates.whole_where, ("number any",), "Aggregates a number over filtered rows."),
    Query(GROUPS, REPORT, 1, aggregates.least_and_most, ("number",), "Returns the smallest and the largest number."),
    Query(GROUPS, REPORT, 1, aggregates.spread, ("number",), "Subtracts the smallest number from the largest."),
    Query(GROUPS, REPORT, 1, aggregates.rounding, ("number",), "Averages a number and rounds the result."),
    Query(GROUPS, REPORT, 2, aggregates.count_distinct, ("group",), "Counts the different values of a column."),
    Query(GROUPS, REPORT, 5, groups.group_count, ("group",), "Counts the rows of each group."),
    Query(GROUPS, REPORT, 6, groups.group_value, GROUP_NUMBER, "Aggregates a number for each group."),
    Query(GROUPS, REPORT, 2, groups.group_where, ("group number any",), "Filters, then aggregates each group."),
    Query(GROUPS, REPORT, 2, groups.having_count, ("group",), "Keeps the groups by their number of rows."),
    Query(GROUPS, REPORT, 2, groups.having_value, GROUP_NUMBER, "Keeps the groups by an aggregate."),
    Query(GROUPS, REPORT, 3, groups.group_top, GROUP_NUMBER, "Sorts the groups by an aggregate and keeps the first."),
    Query(GROUPS, REPORT, 1.5, groups.group_order, GROUP_NUMBER, "Aggregates each group and sorts by the result."),
    Query(GROUPS, REPORT, 1, groups.by_year, ("date",), "Counts the rows of each year of a date."),
    Query(GROUPS, REPORT, 0.7, groups.count_cases, GROUP_NUMBER, "Counts each group's rows above a threshold."),
    Query(JOIN, GET, 3, joins.pairs, ("name", "any"), "Joins each row to the row it refers to."),
    Query(JOIN, GET, 2, joins.pairs_where, ("name", "any"), "Joins, filters on the referring one."),
    Query(JOIN, GET, 4, joins.of_parent, ("name", "any"), "Joins and keeps the rows that refer to one name."),
    Query(JOIN, GET, 2, joins.of_parents_where, ("any", "any"), "Joins, filters on the one referred to."),
    Query(JOIN, GET, 1, joins.parents_having, ("name", "any"), "Joins, filters, and returns each name once."),
    Query(JOIN, GET, 1, joins.pair_order, ("name", "number"), "Joins two tables and sorts by a number."),
    Query(JOIN, GET, 1.5, joins.top_pair, ("name", "number"), "Joins, sorts by a number, keeps the first row."),
    Query(JOIN, REPORT, 1, joins.count_each, ("name", ""), "Counts referring rows with a left join, zero included."),
    Query(JOIN, REPORT, 4, joins.value_each, ("name", "number"), "Joins two tables and aggregates for each name."),
    Query(JOIN, REPORT, 3, joins.value_of, ("name", "number"), "Joins two tables and aggregates for one name."),
    Query(JOIN, REPORT, 1.5, joins.value_where, ("any", "number"), "Joins, filters one table, aggregates the other."),
    Query(JOIN, REPORT, 1, joins.by_parent_group, ("group", "number"), "Joins two tables, aggregates each category."),
    Query(JOIN, GET, 2, joins.without, ("name", ""), "Finds the rows nothing refers to with a left join."),
    Query(JOIN, REPORT, 2, joins.most_children, ("name", ""), "Joins, aggregates each name, keeps the highest."),
    Query(JOIN, REPORT, 1.5, joins.several_children, ("name", ""), "Keeps names by how many rows refer to them."),
    Query(JOINS, GET, 2, chains.links, ("name", "any", "name"), "Joins three tables and filters on the middle one."),
    Query(JOINS, GET, 2, chains.links_of, ("name", "", "name"), "Follows two references from one name to others."),
    Query(JOINS, REPORT, 1, chains.links_value, ("name", "number", "name"), "Joins three, filters, aggregates."),
    Query(JOINS, GET, 2, chains.links_full, ("name", "any", "name"), "Joins three tables, returns a column of each."),
    Query(NESTED, GET, 4, nested.against_average, ONE_NUMBER, "Compares each number with the average from a subquery."),
    Query(NESTED, GET, 2, nested.at_extreme, ("name number any",), "Keeps rows whose number equals the extreme."),
    Query(NESTED, GET, 3, nested.than_name, ONE_NUMBER, "Compares each number with a named row's."),
    Query(NESTED, GET, 2, nested.same_group, ("name group",), "Keeps rows in the category of one named row."),
    Query(NESTED, GET, 1, nested.above_group_average, FULL, "Compares each number with the average of its own group."),
    Query(NESTED, GET, 3, nested.with_child, ("name", "any"), "Keeps rows that a filtered subquery refers to."),
    Query(NESTED, GET, 1.5, nested.without_child, ("name", "any"), "Keeps rows that no filtered row refers to."),
    Query(NESTED, GET, 2, nested.exists, ("name", ""), "Keeps rows by whether another table refers to them."),
    Query(NESTED, GET, 1, nested.parent_of_extreme, ("any", "number"), "Finds the row that the extreme row refers to."),
    Query(NESTED, REPORT, 1, nested.average_group_size, ("group",), "Aggregates the sizes of groups."),
    Query(WINDOW, REPORT, 4, analytic.rank, ONE_NUMBER, "Ranks every row by a number."),
    Query(WINDOW, REPORT, 2, analytic.number_in_group, FULL, "Numbers the rows within each group."),
    Query(WINDOW, REPORT, 2, analytic.running, ("name sum",), "Adds up a number row by row."),
    Query(WINDOW, REPORT, 2, analytic.beside_group, FULL, "Shows the aggregate of its group beside each row."),
    Query(WINDOW, REPORT, 1.5, analytic.first_in_group, FULL, "Numbers rows within groups and keeps the first."),
    Query(WINDOW, REPORT, 1, analytic.previous, ONE_NUMBER, "Shows the preceding number beside each row."),
    Query(WINDOW, REPORT, 1, analytic.group_size, ("name group",), "Shows the size of its group beside each row."),
    Query(SETS, GET, 4, analytic.combine, ("name any any",), "Combines the results of two filters."),
    Query(SETS, GET, 2, analytic.names_of_both, ("name", "name"), "Puts the names of two tables in one list."),
    Query(SETS, GET, 2, analytic.ids, ("", ""), "Compares the ids of two tables."),
    Query(SETS, GET, 2, analytic.groups_of_two, ("group any any",), "Compares the categories of two filtered lists."),
    Query(CTES, REPORT, 2, nested.cte_above_average, GROUP_NUMBER, "Aggregates groups, keeps those above average."),
    Query(CTES, REPORT, 2, nested.cte_extreme, GROUP_NUMBER, "Aggregates each group, then keeps the extreme."),
    Query(CTES, REPORT, 2, nested.cte_filter, ("number any",), "Filters first, then aggregates what is left."),
    Query(CTES, REPORT, 2, nested.cte_join, ("name", "number"), "Aggregates one table, joins the result to another."),
)
# fmt: on
