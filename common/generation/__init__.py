"""Answers to prompts by a batch that is kept full. Covers decoder-only models; scoring and files are evaluation's."""

from common.generation.answers import Completion, complete
from common.generation.sampling import Sampling

__all__ = ["Completion", "Sampling", "complete"]
