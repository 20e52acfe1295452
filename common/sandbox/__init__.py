"""Untrusted SQL in killable worker processes.

What it covers: nothing a statement contains raises in, hangs or kills the process that asks, writes or reads a file,
opens the network or loads an extension. From the outside in:

1. a process of its own, started by exec with an empty environment in `/`: 1 GB of address space, no file may be
   opened or written, no core; it ends when its pipe closes and when its parent dies;
2. half a second of CPU a stage and two seconds an item, after which the kernel ends the process inside whatever it is
   doing; a watch on the wall clock in the parent, for a sick machine only. One row is then marked as killed and the
   others go on;
3. 2,000,000 steps of SQLite's machine a run, and 40,000 calls of date functions and random(): the same on every
   machine. A database of more than 64 KiB has more, up to six times as much and 1.25 seconds (`guard.budget_of`);
4. limits on heap, pages, lengths, columns, depth, rows and bytes;
5. an authorizer that lets through what it knows, and refuses ATTACH, VACUUM, PRAGMA, transactions, ANALYZE, virtual
   tables, load_extension and the catalogues of SQLite's own memory. Only a schema in which no such word stands, in any
   place, and no query or trigger, is loaded without it.

What it does not cover: a defect in SQLite that runs foreign code would find a process that can still read the memory
of its own address space and make system calls (there is no seccomp or namespace). On systems other than Linux the
parent's death is seen only through the pipe; what a platform lacks is logged once, as a warning, and listed in
`Pool.missing`. What runs beside a GPU is not touched: a worker is started by exec, knows no CUDA and no torch.
What is run in a worker, and how rows compare, is the business of the module that is handed to `Pool`.
"""

from common.sandbox.pool import Job, Pool, SandboxError

__all__ = ["Job", "Pool", "SandboxError"]
