"""The command line ``place``. Results go to stdout, logs to stderr.

The body of a command imports what it calls. Nothing heavy is imported at the top, so that
``place --help`` answers before torch could be loaded.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from place_cxr.cli import benchmark, task
from place_cxr.cli.cache import cache_app
from place_cxr.cli.console import (
    check_writable,
    log_to_stderr,
    print_result,
    progress_bar,
    progress_bars,
    run_guarded,
)
from place_cxr.cli.data import data_app
from place_cxr.cli.options import (
    Device,
    DeviceOption,
    ImageArgument,
    ImagesArgument,
    JsonOption,
    OverridesArgument,
    OverwriteOption,
    Precision,
    RecipeArgument,
    RunArgument,
    SeedOption,
    command_group,
    register_command,
)
from place_cxr.core.errors import PlaceError
from place_cxr.core.version import __version__

app = command_group(
    "place",
    "PLACE: chest X-ray representations from image-report pairs.",
    "place demo                                run everything on synthetic studies",
    "place doctor                              check this machine",
    "place pretrain phantom-tiny optim.lr=2e-4 a recipe with one value changed",
    "place ground runs/demo x.png 'left pleural effusion' -o heat.png",
)
config_app = command_group(
    "config",
    "Show recipes and their schema.",
    "place config show",
    "place config show phantom-tiny optim.lr=2e-4",
)
app.add_typer(data_app)
app.add_typer(cache_app)
app.add_typer(config_app)


@app.callback(invoke_without_command=True)
def _place(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"place-cxr {__version__}")
        raise typer.Exit


@register_command(
    app,
    "demo",
    "Run everything on synthetic studies.",
    "place demo",
    "place demo -o runs/demo2 --seed 1",
)
def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Where the run and its results page go.")
    ] = Path("runs/demo"),
    device: DeviceOption = Device.auto,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pre-train and evaluate on synthetic studies, in minutes and without a GPU."""
    from place_cxr.cli.demo import run_demo

    with progress_bars() as progress:
        page = run_demo(
            out, seed=seed, device=device.value, overwrite=overwrite, progress=progress
        ).resolve()

    print_result({"run": str(out), "page": str(page)}, f"Results: {page}", as_json)


@register_command(app, "doctor", "Check this machine.", "place doctor", "place doctor --json")
def doctor(as_json: JsonOption = False) -> None:
    """List what this machine has, what is missing, and how to install it.

    Exit code 3 if something needed is missing.
    """
    from place_cxr.cli.doctor import check_machine, render_checks

    checks = check_machine()
    print_result([check.to_dict() for check in checks], render_checks(checks), as_json)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(3)


@register_command(
    app,
    "pretrain",
    "Pre-train by a recipe.",
    "place pretrain phantom-tiny data.manifest=data/phantom/manifest.csv",
    "place pretrain mimic-vitb16 data.manifest=/data/mimic-cxr-jpg -o runs/mimic",
    "place pretrain phantom-tiny -o runs/a --resume auto",
    "place pretrain phantom-tiny train.steps=20 --dry-run",
)
def pretrain(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The run folder; default runs/NAME.")
    ] = None,
    resume: Annotated[
        str,
        typer.Option("--resume", metavar="auto|PATH", help="Continue this run; auto: or start it."),
    ] = "",
    init_from: Annotated[
        str, typer.Option("--init-from", metavar="PATH", help="Start a new run from these weights.")
    ] = "",
    overwrite: OverwriteOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Take two steps, and keep only the packs.")
    ] = False,
    device: DeviceOption = Device.auto,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="Short for train.precision=.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Short for train.seed=.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pre-train on image-report pairs by RECIPE. Nothing is downloaded unless HF_HUB_OFFLINE=0."""
    if bool(resume) + bool(init_from) + overwrite > 1:
        raise PlaceError(
            "--resume, --init-from and --overwrite are three different things",
            code="PL-C003",
            fix="give one of them",
        )

    from place_cxr.pretrain import run_recipe

    # Short options become overrides; they come last, so they win.
    short = {"train.precision": precision, "train.seed": seed}
    values = [
        *(overrides or []),
        *(f"{key}={value}" for key, value in short.items() if value is not None),
    ]

    with progress_bars() as progress:
        summary = run_recipe(
            recipe,
            values,
            out=out or Path("runs") / Path(recipe).stem,
            resume=resume,
            init_from=init_from,
            overwrite=overwrite,
            dry=dry_run,
            device=device.value,
            progress=progress,
        )

    print_result(summary, "\n".join(f"{name}: {value}" for name, value in summary.items()), as_json)


@register_command(
    app,
    "zeroshot",
    "Classify images by the names of findings.",
    "place zeroshot runs/demo a.png b.png --finding effusion='pleural effusion' --finding nodule",
)
def zeroshot(
    run: RunArgument,
    images: ImagesArgument,
    finding: Annotated[
        list[str],
        typer.Option(metavar="NAME[=PHRASE]", help="Repeat it for more names or phrases."),
    ],
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Print a score of each finding, one line per image. Scores rank; they are not calibrated."""
    from place_cxr import predict

    # NAME, or NAME=PHRASE; several phrases of one name are averaged.
    phrases: dict[str, list[str]] = {}
    for text in finding:
        name, _, phrase = text.partition("=")
        phrases.setdefault(name, []).append(phrase or name)

    model, processor = predict.load(run, device=device.value)
    scores = predict.zero_shot(model, processor, images, phrases)
    lines = ["\t".join(["image", *scores.findings])]

    for image, row in zip(images, scores.probability, strict=True):
        lines.append("\t".join([str(image), *(f"{probability:.4f}" for probability in row)]))
    print_result(
        {"images": [str(image) for image in images], **scores.to_dict()}, "\n".join(lines), as_json
    )


@register_command(
    app,
    "ground",
    "Find the part of an image that a text describes.",
    "place ground runs/demo x.png 'left pleural effusion' -o heat.png",
)
def ground_command(
    run: RunArgument,
    image: ImageArgument,
    text: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Draw the map over the image, into this PNG.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="A box is where the map is above this.")
    ] = 0.5,
    device: DeviceOption = Device.auto,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print boxes around what a text describes: x0 y0 x1 y1 in image pixels, the hottest first."""
    if out:
        check_writable(out, overwrite)
    from place_cxr import predict

    model, processor = predict.load(run, device=device.value)
    heat = predict.ground(model, processor, image, text)
    boxes = [[box.x0, box.y0, box.x1, box.y1] for box in heat.boxes(threshold)]
    if out:
        heat.save(out)

    text_lines = "\n".join(" ".join(map(str, box)) for box in boxes)
    print_result({**heat.to_dict(), "threshold": threshold, "boxes": boxes}, text_lines, as_json)


@register_command(
    app, "embed", "Write one vector per image.", "place embed runs/demo images/*.png -o vectors.npy"
)
def embed_command(
    run: RunArgument,
    images: ImagesArgument,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="A .npy file: one unit-length row per image, in order."),
    ],
    device: DeviceOption = Device.auto,
    overwrite: OverwriteOption = False,
) -> None:
    """Write one vector per image, for search or for your own classifier."""
    check_writable(out, overwrite)
    import numpy as np

    from place_cxr import predict

    model, processor = predict.load(run, device=device.value)
    with progress_bar("images") as progress:
        vectors = predict.embed(model, processor, images, progress=progress)

    with out.open("wb") as file:
        np.save(file, vectors)
    typer.echo(f"{out}: {vectors.shape[0]} x {vectors.shape[1]}")


task.add_task_command(app)
benchmark.add_benchmark_command(app)


@register_command(
    app,
    "page",
    "Write a results page again.",
    "place page runs/demo",
    "place page runs/benchmark-phantom",
)
def page(run: RunArgument) -> None:
    """Write the results page of a run or a benchmark again from its files: one HTML file."""
    if (run / "benchmark.yaml").is_file():
        from place_cxr.benchmark.run import rewrite_results

        typer.echo(f"Results: {rewrite_results(run).page.resolve()}")
        return

    from place_cxr.page import write_page
    from place_cxr.tasks import task_texts

    typer.echo(f"Results: {Path(write_page(run, task_texts())).resolve()}")


@register_command(
    config_app,
    "show",
    "Print a whole recipe.",
    "place config show",
    "place config show phantom-tiny optim.lr=2e-4",
)
def config_show(
    recipe: Annotated[
        str, typer.Argument(help="A name or a YAML file; none lists the names.", show_default=False)
    ] = "",
    overrides: OverridesArgument = None,
) -> None:
    """Print a recipe with every default filled in, or list the recipes."""
    if not recipe:
        files = resources.files("place_cxr.recipes").iterdir()
        names = sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml"))
        typer.echo("\n".join(names))

        return

    from place_cxr.core.settings import dump_settings
    from place_cxr.pretrain import load_recipe

    typer.echo(dump_settings(load_recipe(recipe, overrides or [])), nl=False)


@register_command(
    config_app, "schema", "Print the JSON schema of recipes.", "place config schema > schema.json"
)
def config_schema() -> None:
    """Print the JSON schema of a recipe: every key, its type and default."""
    from place_cxr.core.settings import settings_schema
    from place_cxr.pretrain import PretrainConfig

    typer.echo(json.dumps(settings_schema(PretrainConfig), indent=2))


def main() -> None:
    """The installed command ``place``."""
    log_to_stderr()
    run_guarded(lambda: app(prog_name="place"), debug="--debug" in sys.argv)
