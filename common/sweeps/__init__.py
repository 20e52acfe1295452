"""The search for a recipe, in stages, on Optuna: many candidates on few rows, the best on more, the last one on all.

`space` says what may be tried, `sweep` what a search is told and what a trial returns, `draws` what stage 1 tries,
`storage` and `attempts` share the trials between workers, `searching` runs the stages, `found` is the result,
`objective` trains (and alone needs torch), `tracking` logs to Weights & Biases. Covers supervised methods; the last
stage is the caller's.
"""

from common.sweeps.found import Found
from common.sweeps.searching import search
from common.sweeps.sweep import Candidate, Outcome, Sweep

__all__ = ["Candidate", "Found", "Outcome", "Sweep", "search"]
