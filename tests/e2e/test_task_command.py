"""``place task``: a whole pass from a trained run to a result, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from place_cxr import predict
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import Result
from place_cxr.data.corpus import prepare_corpus
from place_cxr.data.sources.chexpert import CHEXPERT_LABELS
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import complete_config
from place_cxr.tasks.engine import recompute_metrics
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.run import TaskRequest, run_named_task
from tests.data.sources.trees import picture, write
from tests.small import digest, small

Place = Callable[..., tuple[int, str, str]]


def test_from_a_run_to_a_result(place: Place, trained: Path, phantom: Path, tmp_path: Path) -> None:
    words = [
        "task",
        "classification",
        "--checkpoint",
        trained,
        "--source",
        "manifest",
        "-o",
        tmp_path,
        "--device",
        "cpu",
    ]
    code, stdout, stderr = place(
        *words, "--fraction", ".5", "1", "--seeds", "0", "1"
    )  # data: the run's own
    assert code == 0, stderr
    folder = tmp_path / "classification" / phantom.parent.name
    assert stdout.splitlines()[-1] == f"Results: {folder}" and "100%/auroc/macro\t" in stdout
    assert "50% of the training patients" in stderr and "seed 1" in stderr
    result = Result.read(folder)
    assert (result.method, result.seeds) == (
        "small",
        (0, 1),
    ) and result.metrics == recompute_metrics(folder)
    assert {name.split("/")[0] for name in result.metrics} == {"50%", "100%"}
    more = [
        "--root",
        phantom,
        "--fraction",
        "1",
        "--seeds",
        "3",
        "--mode",
        "finetune",
        "--json",
        "steps=2",
        "checks=1",
    ]
    code, stdout, stderr = place(*words, *more, "--method", "mine")
    assert code == 0, stderr
    said = json.loads(stdout)
    assert (said["task"], said["method"], said["seeds"]) == ("classification-finetune", "mine", [3])
    assert Path(said["folder"]) == tmp_path / "classification-finetune" / phantom.parent.name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classificatoin"], ("PL-C002", "Did you mean 'classification'?")),
        (["classification", "--source", "chexpertt"], ("PL-C00", "--root")),
        (["classification", "--seeds", "x"], ("PL-C040", "--seeds")),
        (["classification", "--fraction", "2"], ("PL-C040", "fraction")),
        (["classification", "1"], ("PL-C002", "key=value")),
        (["classification", "stepps=1"], ("PL-C001", "Did you mean 'steps'?")),
        (["classification", "data.splitt=mgca"], ("PL-C001", "Did you mean 'split'?")),
        (["classification", "data.pack_size=32"], ("PL-C001", "data.pack_size", "data.split")),
        (["classification", "data.options.views=[PA]"], ("PL-C001", "no option 'views'")),
    ],
)
def test_what_cannot_be_asked(
    place: Place, trained: Path, tmp_path: Path, words: list[str], said: tuple[str]
) -> None:
    code, stdout, stderr = place(
        "task", *words, "--checkpoint", trained, "-o", tmp_path / "out", "--device", "cpu"
    )
    assert (code, stdout) == (2, ""), stderr
    assert all(word in stderr for word in said) and not (tmp_path / "out").exists()


ONE = ("--fraction", "1", "--seeds", "0", "--device", "cpu")


def test_the_control_is_the_same_network_before_it_learned(
    place: Place, trained: Path, phantom: Path, tmp_path: Path
) -> None:
    """Its weights are those a run of this seed starts from; its result lies beside the run's own,
    not over it.
    """
    config = small(phantom)
    torch.manual_seed(config.train.seed)
    start = PlaceModel(
        complete_config(config, prepare_corpus(config.data, max_tokens=64)).model
    ).state_dict()
    assert digest(predict.load_untrained(trained, device="cpu")[0].state_dict()) == digest(start)
    assert digest(predict.load(trained, device="cpu")[0].state_dict()) != digest(start)

    run = Path(shutil.copytree(trained, tmp_path / "run"))
    words = ["task", "classification", "--checkpoint", run, *ONE, "findings=[Cardiomegaly]"]
    said = {}
    for more in ([], ["--random-weights"], ["--random-weights", "-o", tmp_path / "run" / "tasks"]):
        code, stdout, stderr = place(*words, *more)
        assert code == 0, stderr
        said[len(more)] = Path(stdout.splitlines()[-1].removeprefix("Results: "))
    name = f"classification/{phantom.parent.name}"
    assert said[0] == run / "tasks" / name and said[1] == run / "baselines" / "random" / name
    assert said[3] == run / "tasks" / "baselines" / "random" / name
    own, random, again = (Result.read(folder) for folder in said.values())
    assert (own.method, random.method) == ("small", "random weights")
    assert (
        random.metrics == again.metrics != own.metrics and random.split_digest == own.split_digest
    )


def test_another_source_is_told_its_split(place: Place, trained: Path, tmp_path: Path) -> None:
    """An NIH-like folder without the two official lists."""
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View "
        "Position,a,b,c,d"
    )
    rows = [
        f"{n:08d}_000.png,{'Mass' if n % 3 else 'No Finding'},0,{n},50,F,PA,64,64,1,1"
        for n in range(40)
    ]
    write(tmp_path, "nih/Data_Entry_2017_v2020.csv", "\n".join([header, *rows]) + "\n")
    for row in rows:
        picture(tmp_path, f"nih/images/{row[:16]}")
    words = [
        "task",
        "classification",
        "--checkpoint",
        trained,
        "--source",
        "nih14",
        "--root",
        tmp_path / "nih",
    ]
    words += [*ONE, "-o", tmp_path / "out", "findings=[Mass]"]
    code, _, stderr = place(*words)
    assert code == 4 and "train_val_list.txt" in stderr
    code, _, stderr = place(*words, "data.split=patient")
    assert code == 0, stderr
    assert (
        Result.read(tmp_path / "out" / "classification" / "nih14").metrics["100%/auroc/Mass"].n > 0
    )


def test_another_source_is_told_its_options_and_columns(trained: Path, tmp_path: Path) -> None:
    """A CheXpert-like folder of which one view is wanted; a table whose columns have other
    names.
    """
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT_LABELS)
    for name, count in (("train", 16), ("valid", 8), ("test", 8)):
        lines = [header]
        for n in range(count):
            path = f"{name}/patient{name}{n}/study1/view1_frontal.jpg"
            picture(tmp_path, f"chexpert/{path}")
            lines.append(
                f"CheXpert-v1.0/{path},Male,60,Frontal,{('AP', 'PA')[n % 2]}"
                + f",{n // 2 % 2}.0" * 14
            )
        write(tmp_path, f"chexpert/{name}.csv", "\n".join(lines) + "\n")

    def asked(source: str, *overrides: str) -> Predictions:
        settings = {"fractions": (1.0,), "seeds": (0,), "device": "cpu", "out": tmp_path / "out"}
        told = ("findings=[Edema]", *overrides)
        root = str(tmp_path / source)
        request = TaskRequest("classification", trained, source, root, told, **settings)
        _, folder = run_named_task(request)
        return Predictions.read(folder).subset("test")

    assert (
        len(asked("chexpert").seeds) == 8
        and len(asked("chexpert", "data.options.views=[PA]").seeds) == 4
    )

    lines = ["picture,part,who,labels.Edema"]
    for n in range(16):
        picture(tmp_path, f"manifest/{n}.png")
        lines.append(f"{n}.png,{('train', 'val', 'test')[n % 3]},p{n},{n // 3 % 2}")
    write(tmp_path, "manifest/manifest.csv", "\n".join(lines) + "\n")
    columns = [
        f"data.columns.{ours}={theirs}"
        for ours, theirs in (("image", "picture"), ("split", "part"))
    ]
    with pytest.raises(PlaceError):
        asked("manifest")
    found = asked("manifest", *columns, "data.columns.patient=who")
    assert len(set(found.patients)) == len(found.seeds) == 5
