"""``place task``: evaluate a trained run on a downstream task."""

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
# A fraction or a seed: 0, 1, .01, 0.5.
_NUMBER = re.compile(r"\d*\.?\d+")


class ModeChoice(StrEnum):
    """Whether the encoder is trained with the head."""

    frozen = "frozen"
    finetune = "finetune"


class ProfileChoice(StrEnum):
    """The evaluation protocol."""

    strict = "strict"
    mgca = "mgca"
    prior = "prior"
    folds = "folds"


class _NumberListCommand(TyperCommand):
    """Options of numbers accept several words: ``--seeds 0 1`` is ``--seeds 0,1``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the numbers after such an option, then parse as usual."""
        joined: list[str] = []
        for word in args:
            after_option = len(joined) > 1 and joined[-2] in ("--fraction", "--seeds")
            if after_option and _NUMBER.fullmatch(word):
                joined[-1] += f",{word}"
            else:
                joined.append(word)

        return super().parse_args(ctx, joined)


def add_task_command(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    register_command(
        app,
        "task",
        "Evaluate a trained run on a task.",
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
            help="Name of the task; a wrong name lists the right ones.", show_default=False
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
        typer.Option("--root", help="Its path; default: the data of pre-training."),
    ] = "",
    fraction: Annotated[
        str,
        typer.Option(
            "--fraction", metavar="FRACTION...", help="Of the training patients: .01 .1 1"
        ),
    ] = ".01,.1,1",
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            metavar="N,N,...",
            help="Of fractions and heads, or folds; default: 0,1,2, or all five folds.",
            show_default=False,
        ),
    ] = "",
    mode: Annotated[
        ModeChoice, typer.Option("--mode", help="Freeze the encoder, or fine-tune it.")
    ] = ModeChoice.frozen,
    profile: Annotated[
        ProfileChoice, typer.Option("--profile", help="The evaluation protocol.")
    ] = ProfileChoice.strict,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: tasks/ in the run.")
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="The control: the same network without training."),
    ] = False,
    method: Annotated[
        str, typer.Option("--method", help="The name in tables; default: the recipe's.")
    ] = "",
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Evaluate task NAME on labelled data; writes result.json and predictions.parquet.

    Heads are trained on nested fractions of the training patients, with each seed. KEY=VALUE
    changes a setting of the task, data.KEY=VALUE one of the source, as data.split=mgca.
    """
    from place_cxr.tasks.run import TaskRequest, run_named_task

    request = TaskRequest(
        name,
        checkpoint,
        source=source,
        root=root,
        overrides=tuple(overrides or ()),
        fractions=tuple(_parse_numbers(fraction, "--fraction", float)),
        seeds=tuple(_parse_numbers(seeds, "--seeds", int)),
        mode=mode.value,
        profile=profile.value,
        out=out,
        random_weights=random_weights,
        method=method,
        device=device.value,
    )
    with progress_bars() as progress:
        result, folder = run_named_task(request, progress)

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
    interval = f" [{low:.4f}, {high:.4f}]" if low is not None and high is not None else ""
    return f"{value:.4f}{interval}"
