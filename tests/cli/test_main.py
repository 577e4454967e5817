"""The command line: quick, torch-free at the start, exit codes and one-line errors."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import place_cxr
from place_cxr.cli import console, main
from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings, load_settings
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.training import log as training_log

Place = Callable[..., tuple[int, str, str]]
COMMANDS = [
    "demo", "doctor", "pretrain", "zeroshot", "ground", "embed", "page",
    "data", "data phantom", "data ls", "data check", "data card", "data split", "data pack",
    "cache", "cache purge", "config", "config show", "config schema",
]  # fmt: skip


@pytest.fixture
def place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Place:
    """Run ``place`` in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(console.tempfile, "tempdir", str(tmp_path))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["place", *words])
        with pytest.raises(SystemExit) as stop:
            main.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def stub(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    """Stand ``members`` in for the module ``place_cxr.name``, which a command would import."""
    module = types.ModuleType(f"place_cxr.{name}")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(f"place_cxr.{name}", module, raising=False)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["pretrain", "--help"],
        ["data", "check", "--help"],
        ["config", "show"],
    ],
)
def test_starts_without_heavy_imports(words: list[str]) -> None:
    code = (
        "import sys; from place_cxr.cli import main\n"
        f"sys.argv = ['place', *{words!r}]\n"
        "try: main.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "bad = {'torch', 'numpy', 'transformers', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "place_cxr", "--version"], capture_output=True, text=True, timeout=50
    )
    assert re.fullmatch(r"place-cxr \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_and_the_notice(place: Place, command: str) -> None:
    code, out, _ = place(*command.split(), "--help")
    assert code == 0
    assert "Examples:" in out
    assert f"place {command}" in out.split("Examples:")[1]
    assert out.rstrip().endswith(RESEARCH_NOTICE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dmo"], "Did you mean 'demo'?"),
        (["demo", "--outt", "x"], "No such option: --outt"),
        (["demo", "--device", "tpu"], "tpu"),
        (["pretrain"], "Missing argument"),
        (["pretrain", "x", "--resume", "auto", "--overwrite"], "PL-C003"),
        (["pretrain", "x", "--init-from", "y", "--overwrite"], "PL-C003"),
    ],
)
def test_usage_errors_exit_2_and_say_why(place: Place, words: list[str], said: str) -> None:
    code, out, err = place(*words)
    assert (code, out) == (2, "")
    assert said in err


class _Optim(Settings):
    lr: float = 1e-3


class _Config(Settings):
    name: str = "toy"
    optim: _Optim = _Optim()


def test_unknown_key_is_one_line_with_the_nearest_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(
        monkeypatch,
        "pretrain",
        run_recipe=lambda recipe, values, **more: load_settings(_Config, "", values),
    )
    code, out, err = place("pretrain", "toy", "optim.lrr=1")
    assert (code, out) == (2, "")
    assert err.startswith("error[PL-C001] ")
    assert "Did you mean 'optim.lr'?" in err
    assert err.count("\n") == 1


def test_config_show_prints_every_default(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(
        monkeypatch,
        "pretrain",
        load_recipe=lambda recipe, values: load_settings(_Config, "", values),
        PretrainConfig=_Config,
    )
    assert place("config", "show", "toy", "optim.lr=2e-4")[:2] == (
        0,
        "name: toy\noptim:\n  lr: 0.0002\n",
    )
    code, out, _ = place("config", "schema")
    assert code == 0
    assert "optim" in json.loads(out)["properties"]


def test_config_show_lists_the_shipped_recipes(place: Place) -> None:
    folder = Path(main.__file__).parents[1] / "recipes"
    code, out, _ = place("config", "show")
    assert (code, out.split()) == (0, sorted(path.stem for path in folder.glob("*.yaml")))


@pytest.mark.parametrize("letter_and_exit", [("C", 2), ("E", 3), ("D", 4), ("R", 5), ("G", 6)])
def test_exit_code_follows_the_error_code(
    place: Place, monkeypatch: pytest.MonkeyPatch, letter_and_exit: tuple[str, int]
) -> None:
    letter, exit_code = letter_and_exit

    def refuse(run: Path, texts: object) -> None:
        raise PlaceError("broken", code=f"PL-{letter}001", file="a.png", fix="mend it")

    stub(monkeypatch, "page", write_page=refuse)
    assert place("page", "x") == (
        exit_code,
        "",
        f"error[PL-{letter}001] a.png: broken. Fix: mend it\n",
    )
    code, _, err = place("page", "x", "--debug")
    assert code == exit_code
    assert "Traceback" in err


def _raise(error: BaseException) -> Callable[..., None]:
    def fail(*args: object, **options: object) -> None:
        raise error

    return fail


@pytest.mark.fault("P2")
def test_crash_is_three_lines_and_a_private_log(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stub(monkeypatch, "page", write_page=_raise(ValueError("CANARY of patient Smith")))
    code, out, err = place("page", "x")
    assert (code, out) == (1, "")
    assert err.count("\n") == 3
    assert "unexpected ValueError in main.py:" in err
    assert "CANARY" not in err
    [log] = tmp_path.glob("place-crash-*.log")
    assert str(log) in err
    assert "CANARY" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_crash_with_debug_is_the_traceback_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, "page", write_page=_raise(ValueError("CANARY")))
    monkeypatch.setattr(sys, "argv", ["place", "page", "x", "--debug"])
    with pytest.raises(ValueError, match="CANARY"):
        main.main()


def test_interrupt_is_130(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, "page", write_page=_raise(KeyboardInterrupt()))
    assert place("page", "x")[0] == 130


def test_stopped_by_a_signal_keeps_its_code(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, "page", write_page=_raise(SystemExit(143)))
    assert place("page", "x")[0] == 143


def test_full_disk_is_3(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, "page", write_page=_raise(OSError(28, "No space left on device", "/runs/x")))
    assert place("page", "x")[::2] == (
        3,
        "error[PL-E001] /runs/x: no space left. Fix: free some and run it again\n",
    )


def test_demo_gives_its_arguments_on_and_ends_with_the_page(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def run(out: Path, *, progress: Callable[[str, int, int], None], **options: object) -> Path:
        calls.append((out, options))
        progress("phantoms", 3, 3)
        logging.getLogger("place_cxr.cli.demo").info("working")
        return out / "results.html"

    stub(monkeypatch, "cli.demo", run_demo=run)
    code, out, err = place("demo", "-o", str(tmp_path), "--seed", "3")
    assert (code, out, err) == (
        0,
        f"Results: {tmp_path.resolve()}/results.html\n",
        "phantoms 3/3\nworking\n",
    )
    assert calls == [(tmp_path, {"seed": 3, "device": "auto", "overwrite": False})]
    assert place("demo", "-o", str(tmp_path), "-q")[2] == ""
    assert json.loads(place("demo", "-o", str(tmp_path), "--json")[1])["run"] == str(tmp_path)


def test_a_log_hears_of_long_work_and_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(
        training_log, "time", SimpleNamespace(monotonic=lambda: next(clock))
    )  # of this module alone
    caplog.set_level(logging.INFO, "place_cxr")
    with console.progress_bars() as progress:
        for done in range(0, 60, 10):  # one every six seconds
            progress("studies", done, 60)
        progress("studies", 60, 60)
    assert caplog.messages == [
        "studies 10/60, 1:00 left",
        "studies 30/60, 0:24 left",
        "studies 50/60, 0:07 left",
        "studies 60/60",
    ]


def test_pretrain_gives_its_arguments_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run_recipe(recipe: str, values: list[str], **options: object) -> dict[str, object]:
        calls.append(
            (recipe, values, {name: value for name, value in options.items() if name != "progress"})
        )
        return {"run": str(options["out"]), "step": 3}

    stub(monkeypatch, "pretrain", run_recipe=run_recipe)
    words = [
        "pretrain",
        "my/toy.yaml",
        "optim.lr=1",
        "--seed",
        "5",
        "--precision",
        "bf16",
        "--resume",
        "auto",
    ]
    assert place(*words)[:2] == (0, "run: runs/toy\nstep: 3\n")
    given = {
        "out": Path("runs/toy"),
        "resume": "auto",
        "init_from": "",
        "overwrite": False,
        "dry": False,
    }
    values = ["optim.lr=1", "train.precision=bf16", "train.seed=5"]
    assert calls == [("my/toy.yaml", values, {**given, "device": "auto"})]


def test_phantoms_are_never_drawn_over_other_files(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file"):
        code, _, err = place("data", "phantom", "-o", str(out), "--studies", "1", "--size", "64")
        assert (code, err) == (
            2,
            f"error[PL-C004] {out}: is not a new or empty folder. Fix: take another --out\n",
        )
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_embed_never_overwrites_unasked(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "v.npy"
    out.write_text("mine")
    code, _, err = place("embed", "run", "a.png", "-o", str(out))
    assert code == 2
    assert "--overwrite" in err
    assert out.read_text() == "mine"


@pytest.mark.fault("P6")
@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test_hub_is_off_unless_the_user_says_otherwise(
    place: Place, monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "")
    if given is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", given)
    importlib.reload(place_cxr)  # the import sets it, for the command and for Python alike
    seen: list[str | None] = []
    stub(
        monkeypatch,
        "page",
        write_page=lambda run, texts: seen.append(os.environ.get("HF_HUB_OFFLINE")) or "x",
    )
    place("page", "x")
    assert seen == [kept]


def test_data_ls_names_every_source(place: Place) -> None:
    from place_cxr.data.sources import SOURCES

    code, out, _ = place("data", "ls", "--json")
    about = json.loads(out)
    assert code == 0
    assert list(about) == sorted(SOURCES)
    for name, one in about.items():
        assert one["about"] and one["provides"] == list(SOURCES[name].provides)
        assert one["missing"] is None and one["needs"]
    code, out, _ = place("data", "ls")
    assert code == 0
    assert "looks for: stage_2_train_labels.csv" in out
    assert "splits: patient, mgca, mgca_detection, benchx, split_lists" in out
    assert "options: text, views, labeller, reports" in out


def test_data_ls_says_what_is_missing_in_a_folder(place: Place, tmp_path: Path) -> None:
    (tmp_path / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height,Target\n")
    code, out, _ = place("data", "ls", str(tmp_path), "--json")
    about = json.loads(out)
    assert code == 0
    there = [name for name, one in about.items() if not one["missing"]]
    assert there == list(about)[: len(there)] == ["folder", "rsna"]
    assert about["rsna"]["without"] == ["stage_2_detailed_class_info.csv", "stage_2_train_images"]
    assert about["siim"]["missing"] == ["train-rle.csv or stage_2_train.csv"]
    code, out, _ = place("data", "ls", str(tmp_path))
    assert code == 0 and "there: all it needs" in out and "missing: train.csv; dev.csv" in out
    code, _, err = place("data", "ls", str(tmp_path / "nowhere"))
    assert code == 4 and "PL-D205" in err


def test_data_ls_prints_a_card(place: Place) -> None:
    code, out, _ = place("data", "ls", "--card", "siim")
    assert code == 0 and "Licence:" in out and "12,954 rows" in out
    code, _, err = place("data", "ls", "--card", "sim")
    assert code == 2 and "Did you mean 'siim'?" in err
