"""Shared code of the text-to-SQL study; each notebook imports what it needs, module by module.

Example → messages → completion → SQL → Verdict → Report → record in results/ → README table
"""

import logging

# Wherever it is imported first, bitsandbytes advises a package at every start, for a kernel that `load_model` avoids.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
