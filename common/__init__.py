"""Shared code of the text-to-SQL study; each notebook imports what it needs, module by module.

Example → messages → completion → SQL → Verdict → Report → record in results/ → README table
"""

import logging

# When it is imported, bitsandbytes advises a package, for a kernel that `load_model` avoids. All else that it logs is
# shown.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda record: "gemm_4bit_forward" not in str(record.msg))
