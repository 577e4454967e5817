"""What a refactoring must not change, taken from the program as a user runs it.

``python -m tests.golden.record`` writes the files beside this one again. Do that only in a commit
that means to change behavior, and say so in its message.

- ``golden.json``: digests of synthetic studies, of their packs and tokens; ten training losses of
  PLACE and of each peer; scores of every task on twelve studies; exit codes. Numbers depend on the
  machine: the file names the one that made it, and only there are they compared to the last digit
  (`machine`).
- ``help.txt``: the help of every command.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import typer

FOLDER = Path(__file__).parent
SEED = 4
METHODS = ("phantom-tiny", "phantom-convirt", "phantom-gloria", "phantom-mgca")
# One task each; few steps, for what counts is that nothing moves.
TASKS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "segmentation": ("steps=4", "checks=1", "batch_size=4"),
    "detection": ("steps=4", "checks=1", "batch_size=4"),
    "report-generation": (
        "steps=4",
        "checks=1",
        "batch_size=4",
        "beams=2",
        "decoder.max_tokens=16",
    ),
    "retrieval": (),
    "zero-shot": (),
    "grounding": (),
}
HEADS = ("classification", "segmentation", "detection", "report-generation")
# Commands that must be refused, and one that must not; {new} is a folder that does not exist.
REFUSED: tuple[tuple[str, ...], ...] = (
    ("--version",),
    ("no-such-verb",),
    ("pretrain", "no-such-recipe", "-o", "{new}"),
    ("pretrain", "phantom-tiny", "optim.lrr=1", "-o", "{new}"),
    ("pretrain", "phantom-tiny", "-o", "{new}"),
    ("pretrain", "phantom-tiny", "--resume", "auto", "--overwrite", "-o", "{new}"),
    ("pretrain", "phantom-tiny", "data.manifest={new}/none.csv", "-o", "{new}"),
    ("task", "no-such-task", "--checkpoint", "{new}"),
    ("task", "classification", "--checkpoint", "{new}"),
    ("ground", "{new}", "{new}/x.png", "effusion"),
    ("zeroshot", "{new}", "{new}/x.png", "--finding", "nodule"),
    ("embed", "{new}", "{new}/x.png", "-o", "{new}.npy"),
    ("page", "{new}"),
    ("benchmark", "no-such-plan", "-o", "{new}"),
    ("data", "check", "--root", "{new}/none.csv"),
    ("data", "check", "--source", "no-such-source", "--root", "{new}"),
    ("data", "phantom", "-o", "{new}", "--size", "8"),
    ("config", "show", "no-such-recipe"),
    ("cache", "purge", "--cache", "{new}"),
)


def machine() -> dict[str, str]:
    """What the last digits depend on."""
    import torch

    lines = (
        Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if Path("/proc/cpuinfo").is_file()
        else []
    )
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = (
        "torch",
        "numpy",
        "scipy",
        "scikit-learn",
        "tokenizers",
        "transformers",
        "timm",
        "pillow",
        "simplejpeg",
    )
    return {
        "processor": (names or [platform.machine()])[0],
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version().rpartition(".")[0],
        **{name: version(name) for name in packages},
    }


def place(*words: object) -> tuple[int, str, str]:
    """Run ``place`` in this process: exit code, stdout, stderr."""
    from place_cxr.cli.main import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["place", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        return int(stop.code or 0), out.getvalue(), err.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue(), err.getvalue()


def tree_digest(folder: Path) -> str:
    """One hash of all files below ``folder`` and their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(
                path.relative_to(folder).as_posix().encode()
                + hashlib.sha256(path.read_bytes()).digest()
            )
    return total.hexdigest()


def run(*words: object) -> str:
    """The stdout of a command that must succeed."""
    code, out, err = place(*words)
    if code:
        raise RuntimeError(f"place {' '.join(map(str, words))} ended with {code}:\n{err}")
    return out


def phantoms(work: Path) -> Path:
    """Studies of 96 pixels, twelve of which are tested; the manifest's path."""
    run("data", "phantom", "-o", work / "studies", "--studies", 80, "--size", 96, "--seed", SEED)
    return work / "studies" / "manifest.csv"


def studies(work: Path) -> str:
    """Digest of 20 synthetic studies: images, masks and table."""
    run("data", "phantom", "-o", work / "twenty", "--studies", 20, "--size", 64, "--seed", 3)
    return tree_digest(work / "twenty")


def losses(work: Path, manifest: Path, recipe: str) -> dict[str, Any]:
    """Ten steps of a recipe: every part of the loss, and the digest of pixels that the run keeps of
    its data.
    """
    out = work / recipe
    steps = ("train.steps=10", "train.batch_size=16", "train.log_every=1", "train.save_every=100")
    run("pretrain", recipe, f"data.manifest={manifest}", *steps, "-o", out, "--device", "cpu")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    clock = ("images_per_s", "data_wait")
    rows = [
        {k: v for k, v in line.items() if k not in clock}
        for line in lines
        if "total" in line or "loss" in line
    ]
    tokens = tree_digest(next((out / "checkpoints").glob("step_*")) / "tokenizer")
    return {
        "lock": json.loads((out / "data.lock.json").read_text("utf-8")),
        "tokenizer": tokens,
        "steps": rows,
    }


def scores(work: Path, manifest: Path, task: str) -> dict[str, Any]:
    """Every metric of a task, asked of the run that `losses` made."""
    words = [
        "task",
        task,
        *TASKS[task],
        "--checkpoint",
        work / "phantom-tiny",
        "--device",
        "cpu",
        "-o",
        work / "tasks",
    ]
    seeds = ["--seeds", "0,1"] if task == "classification" else ["--seeds", "0"]
    head = ["--fraction", "1", *seeds] if task in HEADS else []
    answer = json.loads(run(*words, *head, "--json"))
    metrics = {
        name: [metric["value"], *(metric["ci95"] or [None, None]), metric["n"], metric["reason"]]
        for name, metric in answer["metrics"].items()
    }
    return {"signature": answer["signature"], "split": answer["split_digest"], "metrics": metrics}


def exit_codes(work: Path) -> dict[str, list[Any]]:
    """Command -> exit code and error code of each of `REFUSED`."""
    table: dict[str, list[Any]] = {}
    for words in REFUSED:
        with contextlib.chdir(work):  # some commands write into the folder where they are called
            code, _, err = place(*(word.format(new=work / "new") for word in words))
        table[" ".join(words)] = [code, err.partition("error[")[2].partition("]")[0]]
    return table


def help_pages() -> str:
    """The help of every command, 100 columns wide."""
    from place_cxr.cli.main import app

    pages: list[str] = []

    def visit(node: click.Command, name: str) -> None:
        context = click.Context(
            node, info_name=name, terminal_width=100, max_content_width=100, color=False
        )
        pages.append(f"$ {name} --help\n{node.get_help(context).rstrip()}\n")
        for child in getattr(node, "commands", {}).values():
            visit(child, f"{name} {child.name}")

    visit(typer.main.get_command(app), "place")
    return "\n".join(pages)


def main(work: Path) -> None:
    """Write ``golden.json`` and ``help.txt`` again."""
    manifest = phantoms(work)
    golden = {
        "machine": machine(),
        "studies": studies(work),
        "losses": {recipe: losses(work, manifest, recipe) for recipe in METHODS},
        "scores": {task: scores(work, manifest, task) for task in TASKS},
        "exit_codes": exit_codes(work),
    }
    text = json.dumps(golden, indent=1)
    text = re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda row: "[" + " ".join(row[1].split()) + "]", text
    )  # one line a list
    (FOLDER / "golden.json").write_text(text + "\n", encoding="utf-8")
    (FOLDER / "help.txt").write_text(help_pages(), encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    os.environ["OMP_NUM_THREADS"] = "1"  # as tests/conftest.py does, and before torch is imported
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PLACE_CACHE"] = f"{folder}/cache"
        main(Path(folder))
