"""The command line on real runs: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr import predict, pretrain
from place_cxr.training import checkpoint
from tests.small import digest, small

Place = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def recipe(phantom: Path) -> str:
    small(phantom)  # writes it
    return str(phantom.parent / "small.yaml")


@pytest.fixture(scope="module")
def pictures(phantom: Path) -> list[Path]:
    return sorted((phantom.parent / "images").iterdir())[:3]


def refused(answer: tuple[int, str, str], exit_code: int, *said: str) -> None:
    """Exit code, nothing on stdout, and as the last of stderr one line that says this."""
    code, out, err = answer
    assert (code, out) == (exit_code, ""), err
    assert err.endswith("\n") and err.count("error") == 1, err
    last = err.splitlines()[-1]
    assert last.startswith("error[PL-") and all(words in last for words in said), err


# ---- pretrain ------------------------------------------------------------------------------------


def test_pretrain_once_again_and_over_it(
    place: Place, recipe: str, phantom: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [
        "pretrain",
        recipe,
        f"data.manifest={phantom}",
        "train.steps=3",
        "-o",
        out,
        "--device",
        "cpu",
    ]
    code, stdout, stderr = place(*words, "--json", "--seed", "5")
    assert code == 0, stderr
    said = json.loads(stdout)
    assert (said["run"], said["step"], said["finished"]) == (str(out), 3, True)
    assert "training 3/3" in stderr and "told apart from 7 others" in stderr
    assert {path.name for path in out.iterdir()} >= {
        "STATUS",
        "checkpoints",
        "command.txt",
        "config.yaml",
        "data.lock.json",
        "env.json",
        "metrics.csv",
        "metrics.jsonl",
        "train.log",
    }
    assert (out / "STATUS").read_text() == "finished step 3\n"
    assert "seed: 5" in (out / "config.yaml").read_text()
    first = digest(checkpoint.load(out).weights)

    refused(place(*words), 5, "PL-R003", "holds a finished run (step 3)", "--overwrite")
    assert place(*words, "--seed", "5", "--resume", "auto")[0] == 0  # nothing left to do
    assert digest(checkpoint.load(out).weights) == first
    code, stdout, stderr = place(*words, "train.steps=1", "--overwrite")
    assert code == 0 and "kept as run.old-1" in stderr
    assert (checkpoint.load(out).step, checkpoint.load(tmp_path / "run.old-1").step) == (1, 3)


@pytest.mark.fault("R1", "R8")
def test_resume_auto_goes_on(
    place: Place, recipe: str, phantom: Path, tmp_path: Path, trained: Path
) -> None:
    out = tmp_path / "run"
    pretrain.run_pretraining(small(phantom), out, device="cpu", stop_at=2)
    words = ["pretrain", recipe, f"data.manifest={phantom}", "-o", out, "--device", "cpu"]
    refused(place(*words), 5, "PL-R002", "unfinished run (step_000002)", "--resume auto")
    refused(place(*words, "optim.lr=1", "--resume", "auto"), 5, "PL-R110", "optim.lr")
    assert (out / "STATUS").read_text() == "interrupted step 2\n"  # a refusal changes nothing
    code, stdout, _ = place(*words, "--resume", "auto")
    assert (code, stdout.splitlines()[1:3]) == (0, ["step: 7", "finished: True"])
    assert digest(checkpoint.load(out).weights) == digest(checkpoint.load(trained).weights)


def test_init_from_and_dry_run(
    place: Place, recipe: str, phantom: Path, tmp_path: Path, trained: Path
) -> None:
    words = ["pretrain", recipe, f"data.manifest={phantom}", "train.steps=1", "--device", "cpu"]
    assert place(*words, "-o", tmp_path / "run", "--init-from", trained)[0] == 0
    assert checkpoint.load(tmp_path / "run").step == 1
    other = [*words, "model.hidden=24", "-o", tmp_path / "other", "--init-from", trained]
    refused(place(*other), 5, "PL-R109", "image_projection.0.weight: expected 24x32, found 32x32")
    code, stdout, _ = place(*words, "-o", tmp_path / "dry", "--dry-run", "--json")
    assert code == 0 and len(json.loads(stdout)["losses"]) == 2
    assert not (tmp_path / "dry").exists()


def test_what_cannot_be_trained(place: Place, recipe: str, phantom: Path, tmp_path: Path) -> None:
    """Usage is 2, data is 4; nothing is made for the first."""
    data = f"data.manifest={phantom}"
    for number, (words, code, said) in enumerate(
        (
            ([recipe, data, "optim.lrr=1"], 2, ("PL-C001", "Did you mean 'optim.lr'?")),
            (["phantom-tinny", data], 2, ("PL-C002", "Did you mean 'phantom-tiny'?")),
            ([recipe, data, "train.batch_size=1"], 2, ("PL-C003", "train.batch_size")),
            ([recipe, data, "train.batch_size=1000"], 2, ("PL-C011", "24 training pairs")),
            (["phantom-tiny"], 2, ("PL-C005", "data.manifest=PATH")),
            (["phantom-tiny", "--dry-run"], 2, ("PL-C005", "data.manifest=PATH")),
            (["mimic-vitb16"], 2, ("PL-C005", "data.manifest=PATH")),
        )
    ):
        out = tmp_path / f"run{number}"
        refused(place("pretrain", *words, "-o", out, "--device", "cpu"), code, *said)
        assert said[0] == "PL-C011" or not out.exists(), words
    refused(
        place("pretrain", recipe, f"data.manifest={tmp_path}/no.csv", "-o", tmp_path / "run"),
        4,
        "no.csv",
    )
    refused(
        place("pretrain", recipe, data, "-o", phantom.parent),
        5,
        "PL-R004",
        "holds files that are no run",
    )
    refused(
        place("pretrain", recipe, data, "-o", tmp_path / "new", "--resume", tmp_path / "no"),
        5,
        "PL-R101",
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_config_show_is_what_a_run_writes(
    place: Place, recipe: str, phantom: Path, trained: Path
) -> None:
    code, stdout, _ = place("config", "show", recipe, f"data.manifest={phantom}")
    assert code == 0
    written = (trained / "config.yaml").read_text()
    shown = stdout.replace(
        "vocab_size: 0",
        f"vocab_size: {checkpoint.load(trained).config['model']['text']['vocab_size']}",
    )
    assert shown == written


# ---- a trained run in use ------------------------------------------------------------------------


def test_zeroshot_prints_a_line_for_each_image(
    place: Place, trained: Path, pictures: list[Path]
) -> None:
    findings = [
        "--finding",
        "effusion=pleural effusion",
        "--finding",
        "effusion=fluid",
        "--finding",
        "nodule",
    ]
    code, stdout, _ = place("zeroshot", trained, *pictures, *findings)
    assert code == 0
    head, *lines = [line.split("\t") for line in stdout.splitlines()]
    assert head == ["image", "effusion", "nodule"]
    assert [line[0] for line in lines] == list(map(str, pictures))
    model, processor = predict.load(trained)
    prompts = {"effusion": ["pleural effusion", "fluid"], "nodule": "nodule"}
    expected = predict.zero_shot(model, processor, pictures, prompts).probability
    np.testing.assert_allclose(np.array([line[1:] for line in lines], float), expected, atol=6e-5)
    said = json.loads(place("zeroshot", trained, *pictures, *findings, "--json")[1])
    assert said["images"] == list(map(str, pictures))
    np.testing.assert_allclose(said["probabilities"]["nodule"], expected[:, 1], atol=1e-5)


def test_ground_prints_boxes_and_draws(
    place: Place, trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    wide = tmp_path / "wide.png"
    with Image.open(pictures[0]) as picture:
        picture.resize((120, 80)).save(wide)
    words = ["ground", trained, wide, "left pleural effusion", "-o", tmp_path / "heat.png"]
    code, stdout, stderr = place(*words, "--threshold", "0.9")
    assert code == 0, stderr
    boxes = [list(map(float, line.split())) for line in stdout.splitlines()]
    assert boxes and all(0 <= x0 < x1 <= 120 and 0 <= y0 < y1 <= 80 for x0, y0, x1, y1 in boxes)
    with Image.open(tmp_path / "heat.png") as heat:
        assert (heat.format, heat.size) == ("PNG", (120, 80))
    refused(place(*words), 2, "heat.png", "--overwrite")
    refused(place(*words[:-1], tmp_path / "nowhere" / "heat.png"), 2, "folder does not exist")
    said = json.loads(place(*words, "--overwrite", "--threshold", "0.9", "--json")[1])
    assert (said["boxes"], said["height"], said["width"], said["threshold"]) == (
        boxes,
        80,
        120,
        0.9,
    )


def test_embed_writes_a_row_for_each_image(
    place: Place, trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    code, stdout, _ = place("embed", trained, *pictures, "-o", tmp_path / "v.npy")
    assert (code, stdout) == (0, f"{tmp_path}/v.npy: 3 x 16\n")
    vectors = np.load(tmp_path / "v.npy", allow_pickle=False)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, predict.embed(*predict.load(trained), pictures), atol=1e-6)


@pytest.mark.fault("I1")
@pytest.mark.parametrize("command", ["zeroshot", "ground", "embed"])
def test_a_bad_image_is_one_line(
    place: Place, trained: Path, pictures: list[Path], tmp_path: Path, command: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(pictures[0].read_bytes()[:200])
    more = {
        "zeroshot": ["--finding", "nodule"],
        "ground": ["nodule"],
        "embed": ["-o", tmp_path / "v.npy"],
    }[command]
    refused(place(command, trained, bad, *more), 4, "bad.png", "cut off")
    refused(place(command, trained, tmp_path / "none.png", *more), 4, "none.png", "cannot be read")
    assert not (tmp_path / "v.npy").exists()


@pytest.mark.fault("C7")
def test_a_run_that_cannot_be_used(
    place: Place, trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    words = ["embed", tmp_path / "none", pictures[0], "-o", tmp_path / "v.npy"]
    refused(place(*words), 5, "PL-R101", "no such checkpoint or run")
    broken = Path(shutil.copytree(trained, tmp_path / "broken"))
    [weights] = broken.glob("checkpoints/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, stderr = place("embed", broken, pictures[0], "-o", tmp_path / "v.npy")
    assert code == 5 and "Traceback" not in stderr and "model.safetensors" in stderr
