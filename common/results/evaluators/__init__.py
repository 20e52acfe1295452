"""Whether the order of the methods survives another evaluator: `python -m common.results evaluators`.

`store` holds the verdicts that the predictions do not say themselves, `ranking` the orders of the methods and where
they part, `kinds` what a disagreement of two verdicts comes from, `report` the Markdown. What the evaluators are:
`common.evaluators`. Runs at other seeds are not looked at.
"""
