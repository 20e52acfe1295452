"""The notebooks as one study: `python -m common.study list | run | publish | seeds`.

`notebooks` reads what each of them makes and needs, `execute` runs them by papermill in dependency order, `publish`
puts their outputs into the repository's notebooks, `seeds` runs the examples at further seeds. What a run computes,
keeps and resumes is the notebook's own affair.
"""
