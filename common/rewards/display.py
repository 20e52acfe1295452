"""The rewards on hand-made completions of one invented example, good and bad: what each pays for, before any training.

The example is small enough to check by hand and is in no data set.
"""

from collections.abc import Mapping, Sequence

import pandas

from common.data import Example
from common.rewards.functions import Reward
from common.rewards.parts import NAMES
from common.rewards.rewards import DATABASES, Rewards

_SCHEMA = """\
CREATE TABLE team (team_id INT PRIMARY KEY, name TEXT);
INSERT INTO team (team_id, name) VALUES (1, 'North'), (2, 'South'), (3, 'West');
CREATE TABLE runner (runner_id INT PRIMARY KEY, team_id INT, age INT, minutes REAL);
INSERT INTO runner (runner_id, team_id, age, minutes) VALUES (1, 1, 34, 52.5), (2, 1, 41, 58.0), (3, 1, 25, 47.0),
(4, 2, 38, 55.5), (5, 2, 29, 61.0), (6, 3, 45, 66.5);"""
_REFERENCE = (
    "SELECT team.name, COUNT(*) FROM runner JOIN team ON runner.team_id = team.team_id "
    "WHERE runner.age > 30 AND runner.minutes < 60 GROUP BY team.name"
)
_EXAMPLE = Example(
    id="hand-made",
    question="How many runners over 30 of each team finished in less than 60 minutes? Give the team's name and number.",
    schema=_SCHEMA,
    sql=_REFERENCE,
)
# The example, and completions with a label each.
HAND_MADE: tuple[Example, list[tuple[str, str]]] = (
    _EXAMPLE,
    [
        ("right", _REFERENCE),
        (
            "right: other aliases, conditions in another order",
            "SELECT t.name AS team, COUNT(*) AS runners FROM runner AS r JOIN team AS t ON t.team_id = r.team_id "
            "WHERE r.minutes < 60 AND r.age > 30 GROUP BY t.name",
        ),
        ("right: in a fence", f"```sql\n{_REFERENCE}\n```"),
        ("wrong: an operator", _REFERENCE.replace("age > 30", "age < 30")),
        (
            "wrong: another query of the right tables",
            "SELECT team.name, runner.age FROM runner JOIN team ON runner.team_id = team.team_id",
        ),
        ("lucky: a constant", "SELECT 'North', 2 UNION ALL SELECT 'South', 1"),
        ("truncated", _REFERENCE[: _REFERENCE.index("minutes")]),
        ("prose", "I cannot count the runners of each team without the data."),
        ("empty", ""),
        ("hostile: drops a table", "DROP TABLE runner"),
        ("hostile: attaches a file", "ATTACH DATABASE 'results.db' AS other"),
    ],
)


def reward_table(
    names: Sequence[str] = NAMES, *, functions: Mapping[str, Reward] | None = None, databases: int = DATABASES
) -> pandas.DataFrame:
    """The completions of HAND_MADE by their labels: the text, each reward without a weight, the scorer's outcome.

    names: of built-in rewards. functions: a researcher's rewards, a column each. Raises UserError as `Rewards`.
    """
    example, completions = HAND_MADE
    texts = [completion for _, completion in completions]
    weights = dict.fromkeys([*names, *(functions or {})], 1.0)
    with Rewards(weights, functions=functions, databases=databases, workers=1) as rewards:
        result = rewards.score([example] * len(texts), texts)
    columns = {name: [round(value, 3) for value in values] for name, values in result.parts.items()}
    outcomes = [verdict.outcome for verdict in result.verdicts]
    index = [label for label, _ in completions]
    return pandas.DataFrame({"completion": texts, **columns, "outcome": outcomes}, index=index)
