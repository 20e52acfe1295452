"""One job in several processes, as `accelerate launch` starts them: who this one is, and what they tell each other.

Everything here works in a single process too, where nothing is waited for. Starting processes is Accelerate's part.
"""

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import DistributedType, PartialState
from torch import distributed as groups

from common.settings import UserError, run_cli

Value = TypeVar("Value")
# Longer than any process of a sound job is waited for: the slowest one's answers at the end of an evaluation.
TIMEOUT = timedelta(minutes=30)
DIED = (
    "a process of the job died, or the job was told to stop; run the same command again, it goes on from the last "
    "checkpoint"
)


def join() -> None:
    """Take part in the job that `accelerate launch` started; a script calls it once, before anything is loaded.

    Each process has its own GPU from then on; without GPUs they talk by gloo. Raises UserError for more processes than
    GPUs, and for sharding without GPUs.
    """
    if "LOCAL_RANK" not in os.environ:
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu and int(os.environ["LOCAL_RANK"]) >= torch.cuda.device_count():
        raise UserError(f"this machine has fewer GPUs than processes; give --num_processes {torch.cuda.device_count()}")
    state = PartialState(cpu=not has_gpu, timeout=TIMEOUT)
    if sharded() and state.distributed_type == DistributedType.MULTI_CPU:
        raise UserError("Accelerate shards a model over GPUs only; take --config_file examples/ddp.yaml on CPUs")


def sharded() -> bool:
    """Whether the job was told to shard the model it trains (FSDP)."""
    return "LOCAL_RANK" in os.environ and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def rank() -> int:
    """Which of the job's processes this is, from 0."""
    return groups.get_rank() if groups.is_initialized() else 0


def world() -> int:
    """How many processes the job has, over all machines."""
    return groups.get_world_size() if groups.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes what the job has in common."""
    return rank() == 0


def cpus() -> int:
    """How many CPUs this process may use: of a large machine, a container or a batch job often has a few only."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait() -> None:
    """Go on when all processes have come here."""
    if world() > 1:
        groups.barrier()


def gathered(value: Value) -> list[Value]:
    """What each process hands in, by rank, in every process."""
    values: list[Any] = [value] * world()
    if world() > 1:
        groups.all_gather_object(values, value)
    return values


def from_main(make: Callable[[], Value]) -> Value:
    """What `make` gives in the main process, which alone runs it, in every process; a UserError is raised in all."""
    values: list[Any] = [None, None]  # what it gives, or the error
    if is_main():
        try:
            values[0] = make()
        except UserError as error:
            values[1] = error
    if world() > 1:
        groups.broadcast_object_list(values)
    if values[1] is not None:
        raise values[1]
    return values[0]


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through the block, then the others: they find in a cache what it has put there."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def run_job(main: Callable[[], int | None]) -> None:
    """`run_cli` for a script that `accelerate launch` may have started: one line a machine says what ended the job.

    Of several processes the main one alone writes to stdout. When one dies, its partners find it gone in what they do
    together, or Accelerate's launcher ends them by SIGTERM; the first to notice says what to do. Exit codes: 1 where a
    process died, else those of `run_cli`.
    """
    if "LOCAL_RANK" not in os.environ:
        run_cli(main)
    _heed_sigterm()
    secondary = os.environ.get("RANK", "0") != "0"
    try:
        with contextlib.redirect_stdout(io.StringIO()) if secondary else contextlib.nullcontext():
            code = main()
        wait()
    except UserError as error:
        _end(f"error: {error}", 2)
    except KeyboardInterrupt:
        _end("interrupted; the same command goes on where it was", 130)
    except RuntimeError as error:
        if not _partner_lost(error):
            raise
        _end(f"error: {DIED}", 1)
    if groups.is_initialized():
        groups.destroy_process_group()
    sys.exit(code)


def _partner_lost(error: RuntimeError) -> bool:
    """Whether a collective failed for want of a partner: torch has a class for NCCL's errors, none for gloo's."""
    return isinstance(error, groups.DistError) or "gloo/" in str(error)


def _heed_sigterm() -> None:
    """Have SIGTERM answered at once by a thread: the main one may be waiting in a collective that never ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGTERM, lambda *_: None)  # for the bytes below to be written at all
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def answer() -> None:
        while signal.SIGTERM not in os.read(reading, 16):
            pass
        _end(f"error: {DIED}", 1)

    threading.Thread(target=answer, daemon=True).start()


_LEAVING = threading.Lock()  # taken once: the main thread may find a partner gone while another answers SIGTERM


def _end(line: str, code: int) -> None:
    """Leave the job, with the line where no process of this machine has said one. No partner is waited for any more."""
    _LEAVING.acquire()
    reported = False
    with contextlib.suppress(KeyError, OSError):  # a launcher that is not torch's: each process says it
        report = Path(os.environ["TORCHELASTIC_ERROR_FILE"])
        report.write_text(json.dumps({"message": line, "timestamp": int(time.time())}))  # the launcher's last words
        try:
            (report.parents[1] / "said").touch(exist_ok=False)  # a folder for this job on this machine
        except FileExistsError:
            reported = True
    if not reported:
        print(f"\n{line}", file=sys.stderr, flush=True)  # below the bar
    os._exit(code)
