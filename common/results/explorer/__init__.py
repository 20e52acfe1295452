"""One page for a reviewer: what each method of a folder of records answered, beside the reference, with both results.

`selection` says which runs and which rows, `databases` what references and answers return and change, `contents` puts
both together, `page` writes the file. The page needs no network and no other file. Only embedded data is written into
it: Spider and gretel are others' to give away. Nothing is judged here; verdicts are those of the records.
"""

from common.results.explorer.page import NAME, is_current, write

__all__ = ["NAME", "is_current", "write"]
