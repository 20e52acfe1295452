"""A command whose reader goes away ends quietly, whatever Python holds back; other errors are as before."""

import os
import subprocess
import sys

import pytest

from common.pipes import CLOSED, piped
from common.settings import ROOT, UserError

START = "import sys\nfrom common.pipes import piped\nfrom common.settings import UserError, run_cli\ndef main():\n"
END = "\nrun_cli(piped(main))"


def run(command: list[str], *, reader: bool, unbuffered: str = "") -> tuple[int, str]:
    """Exit code and stderr of a command whose output goes into a pipe, without a reader from the start or with one."""
    reading, writing = os.pipe()
    if not reader:
        os.close(reading)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    if reader:
        os.close(reading)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("body", "reader", "code", "error"),
    [
        ("    print('x')", False, CLOSED, ""),
        ("    print('x' * 100_000)", False, CLOSED, ""),
        ("    print('x')", True, 0, ""),
        ("    print('x')\n    return 3", True, 3, ""),
        ("    raise UserError('do this')", False, 2, "error: do this\n"),
        ("    sys.exit(4)", False, 4, ""),
    ],
)
def test_a_reader_that_goes_away_is_no_error(body, reader, code, error, unbuffered):
    command = [sys.executable, "-c", f"{START}{body}{END}"]
    assert run(command, reader=reader, unbuffered=unbuffered) == (code, error)


def test_another_broken_pipe_is_as_before(capsys):
    def failing() -> None:
        raise BrokenPipeError("a worker's")

    with pytest.raises(BrokenPipeError, match="a worker's"):
        piped(failing)()
    with pytest.raises(UserError):
        piped(lambda: (_ for _ in ()).throw(UserError("x")))()
    assert piped(lambda: 5)() == 5


@pytest.mark.parametrize("words", [["common.study", "list"], ["common.results", "readme", "--check"]])
def test_the_commands(words):
    assert run([sys.executable, "-m", *words], reader=False) == (CLOSED, "")
