"""The exception of this package. A message says what is wrong, in which file, and how to fix it."""

from __future__ import annotations

import re
from pathlib import Path

# The letter of a code decides the exit code of the command line.
EXIT_CODES = {"C": 2, "E": 3, "D": 4, "R": 5, "G": 6}
_FORMATTED = re.compile(r"^error\[(PL-([A-Z])\d{3})\] ")


class PlaceError(Exception):
    """A refusal with a code: ``error[PL-D101] a.png: not a PNG. Fix: convert it``.

    Codes: ``PL-Cnnn`` usage or configuration, ``PL-Ennn`` environment (extra, disk, memory,
    device), ``PL-Dnnn`` data (D1 images, D2 tables and splits, D3 reports, D4 packs), ``PL-Rnnn``
    run folder, checkpoint or resume, ``PL-Gnnn`` diverged training or a failed gate.

    torch rebuilds the exception of a worker process from its text alone. Therefore the formatted
    text is accepted as the only argument, and ``code`` is read from it.
    """

    def __init__(
        self, problem: str, *, code: str = "", file: str | Path = "", fix: str = ""
    ) -> None:
        formatted = _FORMATTED.match(problem)
        if formatted:  # rebuilt by torch
            code, text = formatted.group(1), problem
        else:
            where = f"{file}: " if str(file) else ""
            stop = "" if problem.endswith("?") else "."
            ending = f"{problem.rstrip('.')}{stop} Fix: {fix.rstrip('.')}" if fix else problem
            text = f"error[{code}] {where}{ending}"

        super().__init__(text)
        self.code, self.file, self.problem, self.fix = code, str(file), problem, fix

    @property
    def exit_code(self) -> int:
        """2 usage, 3 environment, 4 data, 5 run or checkpoint, 6 diverged, 1 anything else."""
        return EXIT_CODES.get(self.code[3:4], 1)
