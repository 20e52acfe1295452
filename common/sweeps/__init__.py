"""The search for a recipe, in stages, on Optuna: many candidates on few rows, the best on more, the last one on all.

`space` says what may be tried, `sweep` what a search is and what a trial returns, `sampler` what stage 1 tries,
`storage` and `attempts` share the trials between workers, `liveness` says which of them live, `folders` where each
trains, `searching` runs the stages, `result` is what comes out, `objective` trains (and alone needs torch), by the
module that the recipe names. The last stage is the caller's.
"""

from common.sweeps.result import SearchResult
from common.sweeps.searching import search
from common.sweeps.sweep import Candidate, Outcome, Sweep

__all__ = ["Candidate", "Outcome", "SearchResult", "Sweep", "search"]
