"""METEOR 1.5, by its own jar where Java is there: its matcher of stems and paraphrases is too large
to write again.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from place_cxr.core.registry import pick
from place_cxr.core.results import Metric
from place_cxr.metrics.intervals import undefined_metric
from place_cxr.metrics.words import TOKENIZERS

_SCORE = re.compile(r"^Final score:\s+([0-9.]+)", re.MULTILINE)
TIMEOUT = 1800  # seconds


def meteor(
    generated: Sequence[str], references: Sequence[str], *, tokenizer: str = "words"
) -> Metric:
    """METEOR over all reports (English, METEOR's own normalization), without an interval.

    Where Java or the jar is missing, or METEOR fails, the value is undefined with a reason. The jar
    comes with the package pycocoevalcap (extra ``meteor``).
    """
    n = len(references)
    jar, java = _jar(), shutil.which("java")
    if java is None:
        return undefined_metric("METEOR needs Java, and there is no java command", n)
    if jar is None:
        return undefined_metric("METEOR needs its jar: pip install 'place-cxr[meteor]'", n)
    tokens = pick(TOKENIZERS, tokenizer, "tokeniser")

    # The folder holds report text: only this user can read it, and it is deleted at the end.
    with TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("generated", "references")]
        for file, texts in zip(files, (generated, references), strict=True):
            lines = [" ".join(tokens(text)) + "\n" for text in texts]
            file.write_text("".join(lines), encoding="utf-8")

        command = [java, "-Xmx2G", "-jar", str(jar), *map(str, files), "-l", "en", "-norm"]
        try:
            process = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=TIMEOUT, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            return undefined_metric(f"METEOR did not finish: {type(error).__name__}", n)

    # The jar prints one score a line, and the one of all lines at the end.
    score = _SCORE.search(process.stdout)
    if score is None:
        return undefined_metric("METEOR gave no score", n)

    return Metric(
        float(score[1]), None, None, n, "no interval: it is computed once over all reports"
    )


def _jar() -> Path | None:
    try:
        spec = importlib.util.find_spec("pycocoevalcap.meteor")
    except ModuleNotFoundError:
        return None

    folders = list(spec.submodule_search_locations or []) if spec else []
    return next(
        (jar for folder in folders if (jar := Path(folder) / "meteor-1.5.jar").is_file()), None
    )
