"""``result.json``: the numbers of one task on one split, and what they depend on."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import read_json_of_stranger, write_atomic
from place_cxr.core.records import Study
from place_cxr.core.version import RESEARCH_NOTICE

RESULT_SCHEMA = 1
RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True)
class Metric:
    """A value with its 95 % interval. An undefined value is None with a reason, never 0.

    ``n`` counts the scored rows. ``draws`` [R] are the values of R bootstrap resamples, NaN where
    undefined. The same patients give the same resamples: draws of two models on the same rows are
    paired. ``draws`` are not written to ``result.json``.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    draws: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Provenance:
    """The source of the numbers; the same for all tasks of one evaluation."""

    source: str  # name of the data set
    split: str  # train, val or test
    split_digest: str  # of the studies and patients in it
    method: str  # what pre-trained the model
    git: str = ""
    config_hash: str = ""
    hardware: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Named metrics of one task.

    The name of a metric has three parts, ``variant/metric/of what``: ``mix/auroc/macro``.
    """

    task: str
    source: str
    split: str
    split_digest: str
    method: str
    metrics: Mapping[str, Metric]
    signature: str  # everything that changes the numbers, in words
    seeds: tuple[int, ...]
    git: str = ""
    config_hash: str = ""
    seconds: float = 0.0
    hardware: str = ""
    schema: int = field(default=RESULT_SCHEMA, kw_only=True)

    @classmethod
    def of(
        cls,
        task: str,
        provenance: Provenance,
        metrics: Mapping[str, Metric],
        *,
        signature: str,
        seeds: Sequence[int],
        seconds: float,
    ) -> Result:
        """A result of ``task`` with the fields of its provenance filled in."""
        return cls(
            task=task,
            **asdict(provenance),
            metrics=dict(metrics),
            signature=signature,
            seeds=tuple(seeds),
            seconds=round(seconds, 3),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an undefined number is null and carries its reason."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        metrics = {name: _metric_to_dict(name, metric) for name, metric in self.metrics.items()}
        return (
            {"notice": RESEARCH_NOTICE} | values | {"seeds": list(self.seeds), "metrics": metrics}
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """The result from the values of :meth:`to_dict`.

        Raises:
            PlaceError: PL-R020 if the schema differs, or a field is missing or of another type.
        """
        if data.get("schema") != RESULT_SCHEMA:
            raise PlaceError(
                f"another schema than this version reads ({RESULT_SCHEMA})",
                code="PL-R020",
                fix="evaluate again with this version",
            )

        try:
            values = {f.name: data[f.name] for f in fields(cls)}
            # Annotations are text in this module, so the type of a field is the word "str".
            not_text = [
                f.name for f in fields(cls) if f.type == "str" and type(values[f.name]) is not str
            ]
            if not_text:
                raise TypeError(f"{not_text[0]} must be text")

            values["seconds"] = float(values["seconds"])
            values["seeds"] = tuple(int(seed) for seed in values["seeds"])
            values["metrics"] = {
                str(name): _metric_from_dict(metric) for name, metric in values["metrics"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PlaceError(
                f"not a result: {error!r}", code="PL-R020", fix="evaluate again"
            ) from error

        return cls(**values)

    def write(self, folder: str | Path) -> Path:
        """Write ``folder/result.json``, all or nothing; returns its path."""
        target = Path(folder) / RESULT_FILE
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        write_atomic(target, text.encode())

        return target

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """Read a ``result.json``, or the one in a folder.

        Raises:
            PlaceError: PL-R020 if it is missing, not JSON, or not a result.
        """
        file = Path(path) / RESULT_FILE if Path(path).is_dir() else Path(path)
        try:
            data = read_json_of_stranger(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PlaceError(
                "not a readable result", code="PL-R020", file=file, fix="evaluate again"
            ) from error

        if not isinstance(data, dict):
            raise PlaceError("not a result", code="PL-R020", file=file, fix="evaluate again")
        return cls.from_dict(data)


def split_digest(studies: Sequence[Study]) -> str:
    """SHA-256 (hex) of the studies and patients of a split; their order does not matter."""
    # The length of the id keeps ("ab", "c") apart from ("a", "bc").
    lines = sorted(f"{len(s.id)}:{s.id}{s.patient}" for s in studies)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def describe_hardware() -> str:
    """Processor, cores, accelerator and torch version of this machine, as text."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()}, {os.cpu_count()} cores, {device}, torch {torch.__version__}"


def _metric_from_dict(data: Mapping[str, Any]) -> Metric:
    value, (low, high) = data["value"], data["ci95"] or (None, None)
    if not all(number is None or math.isfinite(number) for number in (value, low, high)):
        raise ValueError("a number is not finite")

    return Metric(value, low, high, int(data["n"]), str(data["reason"]))


def _metric_to_dict(name: str, metric: Metric) -> dict[str, Any]:
    numbers = [metric.value, metric.low, metric.high]
    is_infinite = any(x is not None and not math.isfinite(x) for x in numbers)
    if is_infinite or (metric.value is None and not metric.reason):
        raise ValueError(f"metric {name}: a number must be finite, or None with a reason")
    ci95 = None if metric.low is None else [metric.low, metric.high]
    return {"value": metric.value, "ci95": ci95, "n": metric.n, "reason": metric.reason}
