"""``place task``: a question put to a trained run."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from place_cxr.cli.console import print_result, progress_bars
from place_cxr.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    OverridesArgument,
    register_command,
)
from place_cxr.core.errors import PlaceError

_T = TypeVar("_T", int, float)
_NUMBER = re.compile(r"\d*\.?\d+")


class ModeChoice(StrEnum):
    """Whether the encoder learns too."""

    frozen = "frozen"
    finetune = "finetune"


class ProfileChoice(StrEnum):
    """Whose protocol is followed."""

    strict = "strict"
    mgca = "mgca"
    prior = "prior"
    folds = "folds"


class _NumberListCommand(TyperCommand):
    """An option of numbers takes those that follow it: ``--seeds 0 1`` is ``--seeds 0,1``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the library does, of words whose numbers are joined."""
        joined: list[str] = []
        for word in args:
            if (
                len(joined) > 1
                and joined[-2] in ("--fraction", "--seeds")
                and _NUMBER.fullmatch(word)
            ):
                joined[-1] += f",{word}"
            else:
                joined.append(word)
        return super().parse_args(ctx, joined)


def add_task_command(app: typer.Typer) -> None:
    """Put the verb into ``app``."""
    register_command(
        app,
        "task",
        "Put a question to a trained run.",
        "place task classification --checkpoint runs/demo --source manifest --root data/phantom",
        "place task segmentation --checkpoint runs/demo --fraction .1 1 --seeds 0,1    on the "
        "run's own data",
        "place task classification --checkpoint runs/demo --mode finetune steps=200    with a "
        "setting changed",
        "place task segmentation --checkpoint runs/demo --source siim --root /data/siim "
        "data.split=patient",
        "place task classification --checkpoint runs/demo --random-weights    the control",
        kind=_NumberListCommand,
    )(task)


def task(
    name: Annotated[
        str,
        typer.Argument(
            help="Which question; a wrong name lists the right ones.", show_default=False
        ),
    ],
    overrides: OverridesArgument = None,
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", help="A run folder or one of its checkpoints.")
    ] = ...,  # type: ignore[assignment]
    source: Annotated[
        str, typer.Option("--source", help="A data set of 'place data ls'.")
    ] = "manifest",
    root: Annotated[
        str,
        typer.Option("--root", help="Where it lies; default: the data that the run learned from."),
    ] = "",
    fraction: Annotated[
        str,
        typer.Option(
            "--fraction", metavar="SHARE...", help="Shares of the training patients: .01 .1 1"
        ),
    ] = ".01,.1,1",
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            metavar="N,N,...",
            help="Draws of shares and heads, or folds; default: 0,1,2, or all five folds.",
            show_default=False,
        ),
    ] = "",
    mode: Annotated[
        ModeChoice, typer.Option("--mode", help="Freeze the encoder, or train it along.")
    ] = ModeChoice.frozen,
    profile: Annotated[
        ProfileChoice, typer.Option("--profile", help="Whose protocol.")
    ] = ProfileChoice.strict,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: tasks/ in the run.")
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="The control: the same network before it learned anything."
        ),
    ] = False,
    method: Annotated[
        str, typer.Option("--method", help="The name in tables; default: the recipe's.")
    ] = "",
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Ask NAME of a trained run on labelled data; writes result.json and predictions.parquet.

    Heads learn from nested shares of the training patients, with each seed. KEY=VALUE changes a
    setting of the task, data.KEY=VALUE one of the source, as data.split=mgca.
    """
    from place_cxr.tasks.run import run_named_task

    with progress_bars() as progress:
        result, folder = run_named_task(
            name,
            checkpoint,
            source=source,
            root=root,
            overrides=overrides or [],
            fractions=_parse_numbers(fraction, "--fraction", float),
            seeds=_parse_numbers(seeds, "--seeds", int),
            mode=mode.value,
            profile=profile.value,
            out=out,
            random_weights=random_weights,
            method=method,
            device=device.value,
            progress=progress,
        )
    lines = [
        f"{key}\t{_format_metric(value.value, value.low, value.high, value.reason)}"
        for key, value in result.metrics.items()
    ]
    print_result(
        {"folder": str(folder), **result.to_dict()},
        "\n".join([*lines, f"Results: {folder}"]),
        as_json,
    )


def _parse_numbers(text: str, option: str, kind: Callable[[str], _T]) -> list[_T]:
    try:
        return [kind(part) for part in text.split(",") if part]
    except ValueError:
        raise PlaceError(
            f"{option} {text!r} is no list of numbers", code="PL-C040", fix="write .01,.1,1"
        ) from None


def _format_metric(value: float | None, low: float | None, high: float | None, reason: str) -> str:
    if value is None:
        return f"- ({reason})"
    return f"{value:.4f}" + (
        f" [{low:.4f}, {high:.4f}]" if low is not None and high is not None else ""
    )
