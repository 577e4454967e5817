"""Shared parts of the commands: groups, options, and the switches of every command."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from place_cxr.core.errors import PlaceError
from place_cxr.core.version import RESEARCH_NOTICE

Command = Callable[..., None]


def _examples(*lines: str) -> str:
    # The control character tells click to keep the line breaks below it.
    return "\n".join(["Examples:", "", "\b", *(f"  {line}" for line in lines), "", RESEARCH_NOTICE])


def command_group(name: str, help: str, *examples: str) -> typer.Typer:
    """A group of commands whose help ends with ``examples`` and the notice."""
    return typer.Typer(
        name=name,
        help=help,
        epilog=_examples(*examples),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # plain help: importing rich would cost more than all the rest
        pretty_exceptions_enable=False,
        add_completion=False,
    )


class Device(StrEnum):
    """The device of the model."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """The precision of training; weights stay fp32."""

    fp32 = "fp32"
    bf16 = "bf16"


RunArgument = Annotated[
    Path, typer.Argument(help="A run folder or one of its checkpoints.", show_default=False)
]
ImageArgument = Annotated[
    Path, typer.Argument(help="A radiograph: PNG, JPEG, TIFF or DICOM.", show_default=False)
]
ImagesArgument = Annotated[
    list[Path], typer.Argument(help="Radiographs: PNG, JPEG, TIFF or DICOM.", show_default=False)
]
RecipeArgument = Annotated[
    str, typer.Argument(help="A name from 'place config show', or a YAML file.", show_default=False)
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values that replace the recipe's."),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="auto takes the GPU where there is one.")
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="All randomness comes from this number.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace what the output folder holds.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="OURS=THEIRS", help="A column of another name; repeat it."),
]
SourceSettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="A setting of the source, as split=mgca; repeat it.",
    ),
]


def _switch(*names: str, help: str, level: int) -> Any:
    def set_level(on: bool) -> None:
        if on:
            logging.getLogger("place_cxr").setLevel(level)

    return Annotated[bool, typer.Option(*names, help=help, callback=set_level)]


# Every command has these. They act by their callbacks, so command bodies do not receive them.
SHARED_SWITCHES = {
    "quiet": _switch("-q", "--quiet", help="Log warnings only.", level=logging.WARNING),
    "verbose": _switch("-v", "--verbose", help="Log more.", level=logging.DEBUG),
    "debug": _switch(
        "--debug", help="Log more, and show the traceback of an error.", level=logging.DEBUG
    ),
}


def source_options(columns: list[str] | None, options: list[str] | None) -> dict[str, Any]:
    """The settings of a source beside its root. Raises PL-C002 for text of another form."""
    from place_cxr.core.settings import parse_values

    pairs = [text.partition("=") for text in columns or []]
    if not all(ours and theirs for ours, _, theirs in pairs):
        raise PlaceError(
            "a column is named OURS=THEIRS",
            code="PL-C002",
            fix="write e.g. --column patient=subject_id",
        )

    column_names = {ours: theirs for ours, _, theirs in pairs}
    return ({"columns": column_names} if column_names else {}) | parse_values(options or [])


def register_command(
    parent: typer.Typer,
    name: str,
    summary: str,
    *examples: str,
    kind: type[TyperCommand] = TyperCommand,
) -> Callable[[Command], Command]:
    """Register a command with a one-line ``summary``, the shared switches and examples in its help.

    ``kind`` is the class that parses its arguments.
    """

    def register(function: Command) -> Command:
        @wraps(function)
        def body(**arguments: Any) -> None:
            own = {name: arg for name, arg in arguments.items() if name not in SHARED_SWITCHES}
            function(**own)

        # Typer reads the signature and the annotations: both get the shared switches.
        signature = inspect.signature(function, eval_str=True)
        switches = [
            inspect.Parameter(
                switch, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind
            )
            for switch, kind in SHARED_SWITCHES.items()
        ]

        parameters = [*signature.parameters.values(), *switches]
        body.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        body.__annotations__ = {**function.__annotations__, **SHARED_SWITCHES}
        parent.command(name, cls=kind, short_help=summary, epilog=_examples(*examples))(body)

        return function

    return register
