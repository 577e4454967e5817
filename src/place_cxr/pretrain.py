"""Pre-training on one screen: source -> packs -> loader -> model -> total loss -> fit."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from place_cxr.core import distributed
from place_cxr.core import settings as settings_file
from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import pick
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Batch, move_to_device
from place_cxr.core.workers import refuse_if_spawned
from place_cxr.data.corpus import Corpus, DataSettings, StageProgress, prepare_corpus, require_data
from place_cxr.data.loader import Loader, PairDataset
from place_cxr.images.views import UNIFORMS_PER_ROW, ViewSettings, train_views
from place_cxr.losses import LOSSES, LossTerm, fields_read, total_loss
from place_cxr.losses.monitors import compute_monitors
from place_cxr.models.place import ModelSettings, PlaceModel
from place_cxr.models.text import complete_text_settings
from place_cxr.text.tokenizer import Tokenizer
from place_cxr.training import checkpoint
from place_cxr.training.job import TrainingJob, TrainSettings
from place_cxr.training.loop import FitResult, create_accelerator, fit
from place_cxr.training.optim import OptimSettings, build_optimizers
from place_cxr.training.run_folder import RunFolder

_SMALL_BATCH = 32  # pairs in a batch below which contrast is known to be weak
_log = logging.getLogger(__name__)


class PretrainConfig(Settings):
    """Everything that decides a pre-training run: a recipe with its overrides."""

    name: str
    data: DataSettings = DataSettings()
    views: ViewSettings = ViewSettings()
    model: ModelSettings = ModelSettings()
    losses: dict[str, LossTerm]
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do, from two training steps that save nothing."""

    data: dict[str, Any]
    parameters: int
    steps_per_epoch: int
    losses: list[float]
    seconds_per_step: float


def recipe_path(name: str) -> Path:
    """The file of a recipe: a shipped name such as ``phantom-tiny``, or a path to a YAML file."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = Path(str(resources.files("place_cxr") / "recipes"))
    return pick({path.stem: path for path in folder.glob("*.yaml")}, name, "recipe")


def load_recipe(recipe: str, overrides: Sequence[str] = ()) -> PretrainConfig:
    """A recipe with ``key=value`` overrides. Errors are found here, before any work.

    Raises PlaceError PL-C001 to PL-C003 for unknown keys, names and wrong values, PL-C006 for
    values that contradict each other.
    """
    config = settings_file.load_settings(
        PretrainConfig, recipe_path(recipe), overrides, find_base=recipe_path
    )
    for name in config.losses:
        pick(LOSSES, name, "loss")
    if config.views.size != config.model.image.size:
        raise PlaceError(
            f"views.size is {config.views.size}, model.image.size {config.model.image.size}",
            code="PL-C006",
            fix="set both to the same number of pixels",
        )

    # A field of PlaceOutputs has the name of the part of ModelSettings that computes it, where that
    # part is optional.
    for name in config.losses:
        for part in sorted(fields_read({name: config.losses[name]})):
            if getattr(config.model, part, part) is None:
                raise PlaceError(
                    f"{name} needs model.{part}",
                    code="PL-C006",
                    fix="remove the loss or set that part",
                )

    return config


def run_pretraining(
    config: PretrainConfig,
    out: Path,
    *,
    resume: str = "",
    init_from: str = "",
    overwrite: bool = False,
    device: str = "auto",
    progress: StageProgress | None = None,
    stop_at: int | None = None,
    corpus: Corpus | None = None,
) -> FitResult:
    """Pre-train into the run folder ``out``. Labels, masks and boxes are never read.

    ``resume`` is ``auto`` or a checkpoint's path. ``auto`` means the newest good checkpoint of
    ``out``, or a new start where nothing was saved yet, so that a scheduler can repeat one command.
    ``init_from`` starts a new run from another run's weights and tokenizer. ``corpus`` is the
    prepared data of ``config``, with the tokenizer of the run that is resumed. Raises PlaceError as
    `fit`, `prepare_corpus` and `RunFolder.create`.
    """
    refuse_if_spawned()
    require_data(config.data)
    create_accelerator(device)  # first, because the run folder and the loader need the rank

    with RunFolder.create(out, resume=bool(resume), overwrite=overwrite) as folder:
        # A run goes on with the tokenizer of the checkpoint that it starts from.
        saved = _load_resumed(out, resume)
        initial = checkpoint.load(Path(init_from)) if init_from else None
        start = saved or initial
        corpus = corpus or prepare_corpus(
            config.data,
            max_tokens=config.model.text.max_tokens,
            tokenizer=None if start is None else Tokenizer.load(start.path / "tokenizer"),
            progress=progress,
        )
        config = complete_config(config, corpus)

        # The seed comes directly before the model, so that weights do not depend on data.
        torch.manual_seed(config.train.seed)
        model = PlaceModel(config.model)
        if initial is not None:
            checkpoint.load_weights(model, initial.weights)
        model.freeze_unread(fields_read(config.losses))

        def describe_run() -> None:
            folder.describe(settings_file.dump_settings(config))
            folder.write("data.lock.json", json.dumps(corpus.lock(), indent=2))

        job = TrainingJob(
            model,
            make_loss(config),
            make_loader(config, corpus).batches,
            settings=config.train,
            optim=config.optim,
            run=folder,
            config={**config.model_dump(mode="json"), "data_lock": corpus.lock()},
            extra_files=corpus.tokenizer.files("tokenizer"),
            move=move_to_device,
            after_step=model.update_teacher,
            on_start=describe_run,
            resume=saved,
            stop_at=stop_at,
            device=device,
        )
        return fit(job)


def _load_resumed(out: Path, resume: str) -> checkpoint.Checkpoint | None:
    if resume == "auto" and not checkpoint.has_checkpoint(out):
        _log.info("nothing was saved in %s yet: starting", out.name)
        return None
    return checkpoint.load(out if resume == "auto" else Path(resume)) if resume else None


def dry_run(
    config: PretrainConfig, *, device: str = "auto", progress: StageProgress | None = None
) -> DryRun:
    """Read, check and pack the data, build the model and take two steps. Only the packs are
    saved.
    """
    torch_device = create_accelerator(device).device
    corpus = prepare_corpus(config.data, max_tokens=config.model.text.max_tokens, progress=progress)
    config = complete_config(config, corpus)

    torch.manual_seed(config.train.seed)
    model = PlaceModel(config.model).to(torch_device).train()
    model.freeze_unread(fields_read(config.losses))
    optimizers = build_optimizers(model, config.optim)
    compute = make_loss(config)
    loader = make_loader(config, corpus)

    losses = []
    start = time.perf_counter()
    # As in `fit`, but without clipping, schedule and accumulation: a check that a step works.
    for step, batch in zip(range(2), loader.batches(0), strict=False):
        with torch.autocast(
            torch_device.type, torch.bfloat16, enabled=config.train.precision == "bf16"
        ):
            value, _ = compute(model, move_to_device(batch, torch_device), step)

        value.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

        losses.append(float(value.detach()))

    seconds = (time.perf_counter() - start) / 2

    return DryRun(
        corpus.lock(),
        sum(p.numel() for p in model.parameters()),
        loader.steps_per_epoch,
        losses,
        seconds,
    )


def run_recipe(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    out: Path,
    resume: str = "",
    init_from: str | Path = "",
    overwrite: bool = False,
    dry: bool = False,
    device: str = "auto",
    progress: StageProgress | None = None,
) -> dict[str, Any]:
    """What ``place pretrain`` does: a run, or with ``dry`` a dry run. Returns a summary in plain
    values. See `run_pretraining` and `dry_run`.
    """
    config = load_recipe(recipe, overrides)
    if dry:
        return asdict(dry_run(config, device=device, progress=progress))
    result = run_pretraining(
        config,
        out,
        resume=resume,
        init_from=str(init_from),
        overwrite=overwrite,
        device=device,
        progress=progress,
    )

    return {
        "run": str(out),
        "step": result.step,
        "finished": result.finished,
        "seconds": round(result.seconds, 1),
    }


def make_loader(config: PretrainConfig, corpus: Corpus) -> Loader:
    """The training split's batches of this process, micro batch by micro batch."""
    rows = corpus.rows["train"]
    micro_batch_size = config.train.batch_size // config.train.accumulate
    if micro_batch_size < _SMALL_BATCH:
        _log.warning(
            "each pair is told apart from %d others only; batches of %d or more learn more",
            micro_batch_size - 1,
            _SMALL_BATCH,
        )

    # A control run: images with reports of other patients.
    report_rows = rows
    if config.data.shuffle_reports:
        report_rows = _shuffle_reports(rows, corpus, config.train.seed)

    return Loader(
        PairDataset(corpus.pixels.pixels, corpus.text, rows, report_rows),
        batch_size=micro_batch_size,
        seed=config.train.seed,
        uniforms=UNIFORMS_PER_ROW,
        rank=distributed.rank(),
        world=distributed.world_size(),
    )


def make_loss(config: PretrainConfig) -> Any:
    """The function that `fit` minimizes: ``(model, batch, step)`` to total loss and its parts, with
    monitors in steps that are logged.
    """

    def compute(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        # Monitors cost a second pass of the correlation head, so they are computed where logged.
        is_logged = (step + 1) % config.train.log_every == 0
        out = model(train_views(batch.pixels, batch.uniform, config.views), batch.tokens, is_logged)
        total, parts = total_loss(out, config.losses)

        return total, {**parts, **compute_monitors(out)} if is_logged else parts

    return compute


def complete_config(config: PretrainConfig, corpus: Corpus) -> PretrainConfig:
    """The configuration with the size of the vocabulary, and with the shape of a BERT that is read
    from a folder.
    """
    text = complete_text_settings(config.model.text, corpus.tokenizer.vocab_size)
    return config.model_copy(update={"model": config.model.model_copy(update={"text": text})})


def build_untrained(config: PretrainConfig, corpus: Corpus, device: str = "cpu") -> PlaceModel:
    """The control: the same network with the random weights of this seed."""
    torch.manual_seed(config.train.seed)
    return PlaceModel(complete_config(config, corpus).model).to(device).eval()


def _shuffle_reports(rows: np.ndarray[Any, Any], corpus: Corpus, seed: int) -> np.ndarray[Any, Any]:
    """Another patient's report for every row, each report used once.

    Raises PlaceError PL-C014 where one patient has more than half of the rows.
    """
    # Rows sorted by patient, patients in random order. A shift by the rows of the largest patient
    # then leaves no row with a report of its own patient.
    patients = [corpus.studies[row].patient or corpus.studies[row].id for row in rows]
    shuffled = np.random.default_rng(seed).permutation(sorted(set(patients))).tolist()
    order = {patient: position for position, patient in enumerate(shuffled)}
    ranked = rows[np.argsort([order[patient] for patient in patients], kind="stable")]
    largest = int(np.unique(patients, return_counts=True)[1].max(initial=0))
    if 2 * largest > len(rows):
        raise PlaceError(
            f"one patient has {largest} of {len(rows)} training pairs, so reports cannot be "
            f"exchanged between patients",
            code="PL-C014",
            fix="remove data.shuffle_reports, or name the patient column: "
            "data.columns.patient=COLUMN",
        )

    shifted = dict(zip(ranked.tolist(), np.roll(ranked, -largest).tolist(), strict=True))

    return np.array([shifted[row] for row in rows.tolist()], np.int64)
