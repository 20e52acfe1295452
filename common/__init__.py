"""Shared code of the text-to-SQL study; each notebook imports what it needs, module by module.

Example → messages → completion → SQL → Verdict → Report → record in results/ → README table
"""
