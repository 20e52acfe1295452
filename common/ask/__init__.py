"""A question put to one's own SQLite file: its schema read, the answer written, run on a private copy, and agreed upon.

The file is never changed. Covers SQLite files of up to 60 MB; what a query may use is the scorer's limit.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.ask.answers import agreed, ask
    from common.ask.copies import Copy, open_copy
    from common.ask.votes import Answer
    from common.ask.weights import load_run

__all__ = ["Answer", "Copy", "agreed", "ask", "load_run", "open_copy"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command tells a slip before torch is there.
    if name in __all__:
        from common.ask import answers, copies, votes, weights

        return next(getattr(module, name) for module in (answers, copies, votes, weights) if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
