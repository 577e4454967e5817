"""Pre-training, whole: what it reads, that it goes on where it stopped, where it may start from,
its controls.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from place_cxr import predict, pretrain
from place_cxr.cli import demo
from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data import corpus as corpora
from place_cxr.data.sources import SOURCES, manifest
from place_cxr.phantom import write_phantom
from place_cxr.text.tokenizer import EncodedReports
from place_cxr.training import checkpoint
from place_cxr.training.job import TrainingJob
from tests.small import digest, records, small
from tests.tables import read_rows, write_rows

SPEAKING = (
    "image",
    "report",
    "split",
    "study",
    "patient",
)  # the columns that pre-training may know


class Trap:
    """Stands where labels, masks or boxes do, and lets nobody look."""

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError("pre-training looked at an annotation")

    __iter__ = __len__ = __getitem__ = __contains__ = __bool__ = __eq__ = __getattr__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def rewrite(
    source: Path, target: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]
) -> Path:
    """A manifest with other rows."""
    rows = change(read_rows(source))
    return write_rows(target, rows)


@pytest.fixture
def copied(phantom: Path, tmp_path: Path) -> Path:
    """A manifest of one's own, with its pictures, to be changed."""
    return Path(shutil.copytree(phantom.parent, tmp_path / "copied")) / phantom.name


def weights(run: Path) -> str:
    return digest(checkpoint.load(run).weights)


# ---- what is read --------------------------------------------------------------------------------


def test_annotations_are_never_looked_at(
    phantom: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*args: Any, **options: Any) -> list[Study]:
        traps = dict.fromkeys(("labels", "said", "masks", "boxes"), Trap())
        return [dataclasses.replace(study, **traps) for study in manifest.read(*args, **options)]

    monkeypatch.setitem(SOURCES, "manifest", read)
    with pytest.raises(AssertionError, match="annotation"):
        dict(read(phantom)[0].labels)
    pretrain.run_pretraining(small(phantom), tmp_path / "run", device="cpu")
    assert weights(tmp_path / "run") == weights(trained)


def test_annotations_change_no_weight(copied: Path, trained: Path, tmp_path: Path) -> None:
    """Without any column beyond picture, report and whose they are, the run is the same to the
    bit.
    """
    rewrite(copied, copied, lambda rows: [{name: row[name] for name in SPEAKING} for row in rows])
    pretrain.run_pretraining(small(copied), tmp_path / "run", device="cpu")
    assert weights(tmp_path / "run") == weights(trained)


def test_only_the_training_split_is_learnt_from(
    copied: Path, trained: Path, tmp_path: Path
) -> None:
    def blacken(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        for row in rows:
            if row["split"] != "train":
                Image.effect_noise((64, 64), 50).save(copied.parent / row["image"])
                row["report"] = "Findings: Nothing of this may be learnt."
        return rows

    rewrite(copied, copied, blacken)
    pretrain.run_pretraining(small(copied), tmp_path / "run", device="cpu")
    assert weights(tmp_path / "run") == weights(trained)


# ---- resuming ------------------------------------------------------------------------------------


@pytest.fixture
def rows_seen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of every batch that reaches the device."""
    seen: list[list[int]] = []
    move = pretrain.move_to_device

    def watched(batch: Any, device: Any) -> Any:
        seen.append(batch.row.tolist())
        return move(batch, device)

    monkeypatch.setattr(pretrain, "move_to_device", watched)
    return seen


@pytest.fixture(scope="module")
def rows_of_seven(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    config = small(phantom)
    data = corpora.prepare_corpus(config.data, max_tokens=64)
    return [
        batch.row.tolist()
        for batch, _ in zip(pretrain.make_loader(config, data).batches(), range(7), strict=False)
    ]


@pytest.mark.fault("R1")
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_stopped_run_ends_as_if_never_stopped(
    phantom: Path,
    trained: Path,
    tmp_path: Path,
    rows_seen: list[list[int]],
    rows_of_seven: list[list[int]],
    stop: int,
) -> None:
    """Dropout, teacher, batch norm, moments, the order of rows; an epoch has three steps, so all
    stops lie within.
    """
    config = small(phantom)
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu", stop_at=stop)
    assert checkpoint.load(tmp_path / "run").step == stop
    assert weights(tmp_path / "run") != weights(trained)
    result = pretrain.run_pretraining(config, tmp_path / "run", device="cpu", resume="auto")
    assert result.finished
    assert rows_seen == rows_of_seven
    assert records(tmp_path / "run") == records(trained)
    assert weights(tmp_path / "run") == weights(trained)


def _other_report(copied: Path) -> None:
    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        train = next(row for row in rows if row["split"] == "train")
        train["report"] = "Findings: The lungs are clear."
        return rows

    rewrite(copied, copied, change)


def _other_picture(copied: Path) -> None:
    Image.effect_noise((64, 64), 50).save(copied.parent / "images" / "S000003.png")


def _other_order(copied: Path) -> None:
    rewrite(copied, copied, lambda rows: rows[::-1])


@pytest.mark.fault("R1")
@pytest.mark.parametrize("change", [_other_report, _other_picture, _other_order])
def test_resume_refuses_other_data(
    copied: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    config = small(copied)
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu", stop_at=1)
    before = weights(tmp_path / "run")
    change(copied)
    with pytest.raises(PlaceError, match="content_digest") as refusal:
        pretrain.run_pretraining(config, tmp_path / "run", device="cpu", resume="auto")
    assert refusal.value.code == "PL-R110"
    assert weights(tmp_path / "run") == before


def test_resume_finds_the_same_data_elsewhere(copied: Path, trained: Path, tmp_path: Path) -> None:
    pretrain.run_pretraining(small(copied), tmp_path / "run", device="cpu", stop_at=2)
    moved = copied.parent.rename(tmp_path / "moved") / copied.name
    pretrain.run_pretraining(small(moved), tmp_path / "run", device="cpu", resume="auto")
    assert weights(tmp_path / "run") == weights(trained)


# ---- starting from another run -------------------------------------------------------------------


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[TrainingJob]:
    """The jobs that `fit` receives; it trains none of them."""
    received: list[TrainingJob] = []
    monkeypatch.setattr(pretrain, "fit", received.append)
    return received


def test_init_from_takes_weights_and_tokenizer(
    phantom: Path, trained: Path, tmp_path: Path, jobs: list[TrainingJob]
) -> None:
    config = small(phantom, "train.seed=9", "data.vocab_size=300")
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu", init_from=str(trained))
    donor = checkpoint.load(trained)
    assert digest(jobs[0].model.state_dict()) == digest(donor.weights)
    assert jobs[0].extra_files == {
        "tokenizer/tokenizer.json": (donor.path / "tokenizer" / "tokenizer.json").read_bytes()
    }
    assert jobs[0].resume is None

    pretrain.run_pretraining(config, tmp_path / "run", device="cpu")
    assert digest(jobs[1].model.state_dict()) != digest(donor.weights)
    assert (
        jobs[1].extra_files["tokenizer/tokenizer.json"]
        != (donor.path / "tokenizer/tokenizer.json").read_bytes()
    )


@pytest.mark.fault("C9")
def test_init_from_refuses_another_network(phantom: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaceError) as refusal:
        pretrain.run_pretraining(
            small(phantom, "model.shared=24"),
            tmp_path / "run",
            device="cpu",
            init_from=str(trained),
        )
    assert refusal.value.code == "PL-R109"
    assert "image_projection.3.weight: expected 24x32, found 16x32" in str(refusal.value)
    assert str(refusal.value).count("expected") == 5
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_init_from_leaves_the_donor_alone_and_starts_at_step_0(
    phantom: Path, trained: Path, tmp_path: Path
) -> None:
    before = weights(trained), records(trained)
    result = pretrain.run_pretraining(
        small(phantom, "train.steps=1"),
        tmp_path / "run",
        device="cpu",
        init_from=str(trained / "checkpoints" / "last"),
    )
    assert (result.step, checkpoint.load(tmp_path / "run").step) == (1, 1)
    assert (weights(trained), records(trained)) == before


# ---- before a run --------------------------------------------------------------------------------


def test_without_data_nothing_is_made(tmp_path: Path) -> None:
    config = pretrain.load_recipe("phantom-tiny")
    for begin in (
        lambda: pretrain.run_pretraining(config, tmp_path / "run"),
        lambda: pretrain.dry_run(config),
    ):
        with pytest.raises(PlaceError, match=r"data\.manifest=PATH") as refusal:
            begin()
        assert (refusal.value.code, refusal.value.exit_code) == ("PL-C005", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("losses.instanec.weight=1", "PL-C002"),
        ("views.size=32", "PL-C006"),
        ("model.correlation=null", "PL-C006"),
        ("losses.gloria_local={}", "PL-C006"),
        ("losses.mgca_prototype={}", "PL-C006"),
        ("train.batch_size=1", "PL-C003"),
        ("optim.lrr=1", "PL-C001"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_when_read(
    phantom: Path, override: str, code: str
) -> None:
    with pytest.raises(PlaceError) as refusal:
        small(phantom, override)
    assert refusal.value.code == code


def test_dry_run_trains_two_steps_and_keeps_nothing(
    phantom: Path, trained: Path, tmp_path: Path
) -> None:
    recipe = str(phantom.parent / "small.yaml")
    said = pretrain.run_recipe(
        recipe,
        [f"data.manifest={phantom}"],
        out=tmp_path / "run",
        dry=True,
        device="cpu",
        progress=lambda *_: None,
    )
    assert not (tmp_path / "run").exists()
    assert json.loads(json.dumps(said))["data"]["images"] == {"train": 24, "val": 5, "test": 11}
    assert said["steps_per_epoch"] == 3
    assert (
        len(said["losses"]) == 2
        and np.isfinite(said["losses"]).all()
        and said["losses"][0] != said["losses"][1]
    )


@pytest.mark.fault("R5")
@pytest.mark.parametrize(
    ("batch", "accumulate", "warned"),
    [(31, 1, True), (32, 1, False), (64, 2, False), (48, 2, True)],
)
def test_few_pairs_to_tell_apart_are_warned_of(
    phantom: Path, caplog: pytest.LogCaptureFixture, batch: int, accumulate: int, warned: bool
) -> None:
    config = small(phantom, f"train.batch_size={batch}", f"train.accumulate={accumulate}")
    with caplog.at_level(logging.WARNING, "place_cxr"):
        pretrain.make_loader(config, fake([str(n) for n in range(64)]))
    assert ("told apart" in caplog.text) == warned


# ---- the shuffled control ------------------------------------------------------------------------


def fake(patients: list[str]) -> Any:
    """A corpus of 1-pixel pictures, one for each entry; the first row is not in the training
    split.
    """
    count = len(patients) + 1
    studies = [
        Study(f"s{row}", Path("x"), "", patient) for row, patient in enumerate(["val", *patients])
    ]
    text = EncodedReports(
        np.zeros((count, 8), np.uint16),
        np.zeros((count, 8), np.int8),
        np.zeros((count, 2), np.int64),
        np.zeros(count, np.int64),
        pad_id=0,
        truncated=0,
    )
    pixels = SimpleNamespace(pixels=np.zeros((count, 1, 1), np.uint8))
    return SimpleNamespace(
        studies=studies, pixels=pixels, text=text, rows={"train": np.arange(1, count)}
    )


def some_patients() -> Iterator[list[str]]:
    rng = np.random.default_rng(0)
    for largest in (1, 2, 7, 20):
        sizes = [largest, *rng.integers(1, largest + 1, 12).tolist(), largest]
        patients = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
        yield [patients[place] for place in rng.permutation(len(patients))]
    yield ["a", "b"] * 5
    yield [""] * 6  # no patient column: every study is its own


@pytest.mark.parametrize(
    "patients", list(some_patients()), ids=lambda patients: f"{len(patients)} rows"
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_shuffled_control_gives_everybody_anothers_report(
    phantom: Path, patients: list[str], seed: int
) -> None:
    corpus = fake(patients)
    config = small(phantom, "data.shuffle_reports=true", "train.batch_size=2", f"train.seed={seed}")
    pairs = pretrain.make_loader(config, corpus).dataset
    assert pairs.rows.tolist() == corpus.rows["train"].tolist()
    assert (
        sorted(pairs.text_rows.tolist()) == pairs.rows.tolist()
    )  # each report once, none of another split
    who = [
        corpus.studies[row].patient or corpus.studies[row].id for row in range(len(corpus.studies))
    ]
    assert all(who[a] != who[b] for a, b in zip(pairs.rows, pairs.text_rows, strict=True))


def test_the_shuffled_control_needs_patients_to_exchange(phantom: Path) -> None:
    config = small(phantom, "data.shuffle_reports=true", "train.batch_size=2")
    for patients in (["a"] * 4, ["a"] * 5 + ["b", "c"]):
        with pytest.raises(PlaceError) as refusal:
            pretrain.make_loader(config, fake(patients))
        assert refusal.value.code == "PL-C014"


def test_the_true_pairs_are_true(phantom: Path) -> None:
    pairs = pretrain.make_loader(small(phantom), fake([str(n) for n in range(9)])).dataset
    assert (pairs.rows == pairs.text_rows).all()


# ---- parts that no loss reads --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "still"),
    [
        ({"instance"}, ("observer", "sentences", "correlation")),
        ({"pathology_image"}, ("image_projection", "text_projection", "log_scale", "correlation")),
        (
            {"correlation"},
            ("observer", "sentences", "image_projection", "text_projection", "log_scale"),
        ),
    ],
)
def test_what_no_loss_reads_keeps_its_weights(
    phantom: Path, tmp_path: Path, losses: set[str], still: tuple[str, ...]
) -> None:
    names = ("instance", "pathology_pair", "pathology_image", "pathology_sentence", "correlation")
    config = small(
        phantom, "train.steps=2", *(f"losses.{n}.weight=0" for n in names if n not in losses)
    )
    torch.manual_seed(config.train.seed)
    data = corpora.prepare_corpus(config.data, max_tokens=64)
    start = pretrain.PlaceModel(pretrain.complete_config(config, data).model).state_dict()
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu")
    moved = {
        name.split(".")[0]
        for name, value in checkpoint.load(tmp_path / "run").weights.items()
        if not value.equal(start[name])
        and not name.endswith("running_mean")  # statistics, which no loss moves
    }
    assert moved.isdisjoint(still)
    assert {"image_encoder", "text_encoder"} & moved


def test_a_peer_learns_is_saved_and_described(phantom: Path, tmp_path: Path) -> None:
    peer = (
        "losses={gloria_global: {}, gloria_local: {options: {chunk: 3}}, mgca_instance: {}, "
        "mgca_token: {}, mgca_prototype: {}}"
    )
    parts = ("model.tokens={hidden: 8}", "model.prototypes=5", "model.correlation=null")
    pretrain.run_pretraining(
        small(phantom, peer, *parts, "train.steps=3"), tmp_path / "run", device="cpu"
    )
    model, processor = predict.load(tmp_path / "run", device="cpu")
    assert model.prototypes is not None and model.tokens is not None
    assert predict.describe_text(model, processor, "No pleural effusion.").vector.shape == (1, 16)
    logged = records(tmp_path / "run")[-1]
    assert all(
        np.isfinite(logged[name]) for name in ("gloria_local", "mgca_token", "mgca_prototype")
    )


def test_resume_auto_begins_where_nothing_was_saved(
    phantom: Path, trained: Path, tmp_path: Path
) -> None:
    pretrain.run_pretraining(small(phantom), tmp_path / "run", device="cpu", resume="auto")
    assert digest(checkpoint.load(tmp_path / "run").weights) == digest(
        checkpoint.load(trained).weights
    )


@pytest.mark.parametrize("call", ["pretrain", "demo", "write_phantom"])
def test_a_worker_that_runs_the_users_script_again_touches_nothing(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    out = tmp_path / "out"
    with pytest.raises(PlaceError, match=r"PL-E013.*__main__"):
        if call == "pretrain":
            pretrain.run_pretraining(small(phantom), out, overwrite=True, device="cpu")
        elif call == "demo":
            demo.run_demo(out)
        else:
            write_phantom(out, 1, 64, 0)
    assert list(tmp_path.iterdir()) == []


# ---- a run that is there stays as it is ----------------------------------------------------------


def contents(run: Path) -> dict[str, bytes]:
    """All files of a run; the lock, which every opening takes, is left out."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.fault("C9")
@pytest.mark.parametrize("stop_at", [2, None], ids=["unfinished", "finished"])
@pytest.mark.parametrize(
    "reason", ["settings", "data", "checkpoint", "device"], ids=lambda reason: f"other-{reason}"
)
def test_a_refused_resume_changes_nothing(
    copied: Path, tmp_path: Path, stop_at: int | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    pretrain.run_pretraining(small(copied), run, device="cpu", stop_at=stop_at)
    before = contents(run)
    monkeypatch.setattr(sys, "argv", ["place", "another", "command"])

    overrides, resume, device = [], "auto", "cpu"
    if reason == "settings":
        overrides = ["train.seed=9"]
    elif reason == "data":
        _other_report(copied)
    elif reason == "checkpoint":
        resume = str(tmp_path / "missing")
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        device = "cuda"

    with pytest.raises(PlaceError):
        pretrain.run_pretraining(small(copied, *overrides), run, device=device, resume=resume)
    assert contents(run) == before


@pytest.mark.fault("C9")
def test_a_repeated_resume_of_a_finished_run_changes_nothing(
    phantom: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = contents(run)
    monkeypatch.setattr(sys, "argv", ["place", "another", "command"])
    config = small(phantom, "train.log_every=1")
    result = pretrain.run_pretraining(config, run, device="cpu", resume="auto")
    assert result.finished and result.step == 7
    assert contents(run) == before


def test_what_is_logged_before_a_resumed_run_starts_is_in_its_log(
    phantom: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pretrain.run_pretraining(small(phantom), run, device="cpu", stop_at=2)
    (run / "train.log").unlink()
    pretrain.run_pretraining(small(phantom), run, device="cpu", resume="auto")
    assert "each pair is told apart" in (run / "train.log").read_text()
