"""The old name of `adapters`, which the committed notebooks import; it goes when they are executed anew."""

from common.training.adapters import merge_adapter

__all__ = ["merge_adapter"]
