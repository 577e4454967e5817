"""The state of a training: what its checkpoints hold, and the judgement of its steps."""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from place_cxr.core import distributed
from place_cxr.core.errors import PlaceError
from place_cxr.training import checkpoint
from place_cxr.training.checkpoint import Checkpoint
from place_cxr.training.job import TrainingJob
from place_cxr.training.optim import (
    build_optimizers,
    optimizer_tensors,
    restore_optimizers,
)
from place_cxr.training.readback import RunningMeans, StepNumbers
from place_cxr.training.saver import Saver
from place_cxr.training.tensor_files import snapshot

_log = logging.getLogger(__name__)
# Settings that may differ between a run and its continuation: no number of the training depends on
# them.
_CHANGEABLE_KEYS = frozenset(
    {"log_every", "save_every", "keep", "max_bad_steps", "device", "workers", "manifest"}
)


class TrainState:
    """Model, optimizer and position, tied to the settings they belong to."""

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        self.model = job.model.to(device).train()
        self.run, self.device = job.run, device
        self.optimizers = build_optimizers(self.model, job.optim)
        self.parameters: list[nn.Parameter] = []
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                self.parameters += group["params"]

        self.running_means, self.saver = RunningMeans(), Saver()
        self.step = self.bad_steps = 0
        self.saved: Path | None = None

        self._job = job
        self._config = json.loads(json.dumps(job.config))
        self._settings = {
            "train": job.settings.model_dump(mode="json"),
            "optim": job.optim.model_dump(mode="json"),
        }
        self._consecutive_bad_steps = 0
        self._spikes = SpikeDetector()
        self._check_same_settings()

    def _check_same_settings(self) -> None:
        """PL-R111 unless all ranks were given the same settings."""
        settings = json.dumps([self._settings, self._config], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).digest()

        # As one row of 32 numbers, because ranks exchange tensors only.
        numbers = torch.tensor([list(digest)], dtype=torch.int64, device=self.device)
        if not bool((distributed.gather(numbers) == numbers).all()):
            raise PlaceError(
                "the processes were given different settings", code="PL-R111", fix="start all alike"
            )

    # ---- saving and resuming

    def save(self) -> Path:
        """Begin to save the current step, unless it was saved last; `Saver.wait` waits for it."""
        path = self.run.path / "checkpoints" / f"step_{self.step:06d}"
        if self.run.main and self.saved != path:
            names, sums = self.running_means.state()
            moments = {}
            for name, value in optimizer_tensors(self.optimizers).items():
                moments[f"optim/{name}"] = value

            # The copies are taken now; only hashing and writing run beside the training.
            commit = partial(
                checkpoint.save,
                self.run.path,
                self.step,
                snapshot(self.model.state_dict()),
                config=self._config,
                state_tensors=snapshot(moments | sums),
                # Names on disk since version 0.1.0.
                state={"said": self._settings, "tally": names, "bad_steps": self.bad_steps},
                extra_files=self._job.extra_files,
                keep=self._job.settings.keep,
            )
            self.saver.start(commit)
        self.saved = path
        return path

    def resume(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint. Raises PL-R110: other settings; PL-R109: another model."""
        if "said" not in saved.state:
            raise PlaceError(
                "holds weights only, nothing to resume",
                code="PL-R110",
                file=saved.path.name,
                fix="use --init-from",
            )

        self._refuse_changed_settings(saved)
        checkpoint.load_weights(self.model, saved.weights)

        moments = {}
        for name, value in saved.state_tensors.items():
            if name.startswith("optim/"):
                moments[name.removeprefix("optim/")] = value
        restore_optimizers(self.optimizers, moments)

        self.running_means.restore(saved.state["tally"], saved.state_tensors, self.device)
        self.step, self.bad_steps = saved.step, saved.state["bad_steps"]
        self._warn_of_inexact_resume(saved)

        if self.run.main and (aside := checkpoint.set_aside_later_steps(self.run.path, self.step)):
            _log.warning(
                "continuing from step %d; the later steps %s are kept as aside_*", self.step, aside
            )

        # A checkpoint of another run is not yet saved in this one.
        own_path = self.run.path / "checkpoints" / saved.path.name
        self.saved = own_path if own_path.exists() and own_path.samefile(saved.path) else None

    def _refuse_changed_settings(self, saved: Checkpoint) -> None:
        before = _flat({"config": saved.config, **saved.state["said"]})
        now = _flat({"config": self._config, **self._settings})

        changes = []
        for key in {**before, **now}:
            if key.split(".")[-1] not in _CHANGEABLE_KEYS and before.get(key) != now.get(key):
                changes.append(f"{key} was {before.get(key)!r}, is {now.get(key)!r}")

        if changes:
            raise PlaceError(
                f"the run was made with other settings: {'; '.join(changes[:5])}",
                code="PL-R110",
                file=saved.path.name,
                fix="resume with the run's own settings, or start a new run with --init-from",
            )

    def _warn_of_inexact_resume(self, saved: Checkpoint) -> None:
        """Other versions, ranks or threads sum in another order, so the last bits differ."""
        current: dict[str, Any] = {
            "torch": torch.__version__,
            "world_size": distributed.world_size(),
        }
        if self.device.type == "cpu":
            current["threads"] = torch.get_num_threads()

        for key, value in current.items():
            if saved.origin[key] != value:
                _log.warning(
                    "saved with %s %s, resumed with %s: not equal to the bit",
                    key,
                    saved.origin[key],
                    value,
                )

    # ---- judging

    def judge(self, numbers: StepNumbers | None) -> None:
        """Record a bad step, raise PL-G001 after too many in a row, and warn of a spike."""
        if numbers is None:
            return

        if not numbers.bad:
            self._consecutive_bad_steps = 0
            if self._spikes.is_spike(numbers.loss):
                self._mark_before_spike(numbers)
            return

        self.bad_steps += 1
        self._consecutive_bad_steps += 1
        self._record_bad_step(numbers)
        if self._consecutive_bad_steps >= self._job.settings.max_bad_steps:
            raise PlaceError(
                f"training diverged: no finite loss and gradient in {self._consecutive_bad_steps} "
                f"steps in a row, up to step {numbers.step}; the weights are those from before",
                code="PL-G001",
                file=self.run.path.name,
                fix="lower optim.lr, or look at the rows in bad_steps.jsonl",
            )
        _log.warning("step %d: loss or gradient is not finite; the step was left out", numbers.step)

    def _record_bad_step(self, numbers: StepNumbers) -> None:
        """Write the rows, rate and norm of a bad step; no pixels and no text."""
        # Every rank takes part in gathering, also those that write nothing.
        rows: list[int] = []
        for part in numbers.rows:
            rows += [int(row) for row in distributed.gather(part.to(self.device)).flatten()]
        if not self.run.main:
            return

        record = {
            "step": numbers.step,
            "rows": rows,
            "lr": numbers.lr,
            "loss": str(numbers.loss),
            "grad_norm": str(numbers.norm),
        }

        try:
            with (self.run.path / "bad_steps.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            _log.warning("bad_steps.jsonl cannot be written (%s)", error.strerror)

    def _mark_before_spike(self, numbers: StepNumbers) -> None:
        _log.warning("step %d: the loss jumped to %.4g", numbers.step, numbers.loss)
        if self.run.main and self.saved is not None:
            # A pointer must not name a step that is not yet written.
            self.saver.wait()
            step = int(self.saved.name.removeprefix("step_"))
            try:
                checkpoint.write_pointer(self.run.path, "pre-spike", step)
            except OSError as error:
                _log.warning("the step before the spike is not marked (%s)", error.strerror)


class SpikeDetector:
    """Finds a loss more than six median absolute deviations above the median of the last 100."""

    _WINDOW, _MIN_LOSSES, _DEVIATIONS = 100, 30, 6.0

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=self._WINDOW)
        self._muted_steps = 0

    def is_spike(self, loss: float) -> bool:
        """Whether this loss is a spike; once per window at most."""
        spike = False
        if len(self._last) >= self._MIN_LOSSES and self._muted_steps == 0:
            middle = statistics.median(self._last)
            spread = statistics.median(abs(value - middle) for value in self._last)
            # The spread of a loss that no longer changes is rounding only, hence the floor.
            floor = max(1e-3 * abs(middle), 1e-12)
            spike = loss - middle > self._DEVIATIONS * max(spread, floor)

        # After a spike the window holds it, so for its length there is no further warning.
        self._muted_steps = self._WINDOW if spike else max(0, self._muted_steps - 1)
        self._last.append(loss)
        return spike


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names such as ``model.image.size``."""
    if not isinstance(value, dict):
        return {name: value}

    entries: dict[str, Any] = {}
    for key, inner in value.items():
        entries |= _flat(inner, f"{name}.{key}" if name else key)
    return entries
