"""``place data``: check, describe, split and pack a data set; draw phantoms; list the sources."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from place_cxr.cli.console import check_writable, print_result, progress_bar
from place_cxr.cli.options import (
    ColumnOption,
    JsonOption,
    OverwriteOption,
    SeedOption,
    SourceSettingOption,
    command_group,
    register_command,
    source_options,
)
from place_cxr.core.errors import PlaceError

if TYPE_CHECKING:
    from place_cxr.core.records import Study

data_app = command_group(
    "data",
    "Check, describe, split and pack a data set; draw synthetic studies.",
    "place data phantom -o data/phantom",
    "place data check --root data/phantom",
    "place data pack --root data/phantom -o packs/phantom",
)

SourceOption = Annotated[
    str, typer.Option("--source", help="Kind of data set, from 'place data ls'.")
]
RootOption = Annotated[
    Path,
    typer.Option("--root", help="The manifest, or the folder of the data set.", show_default=False),
]
SplitsOption = Annotated[
    Path | None,
    typer.Option(
        "--splits", help="Splits from a file of 'place data split' in place of the data's own."
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes; 0: one for each core.")
]


@register_command(
    data_app,
    "phantom",
    "Draw synthetic studies.",
    "place data phantom -o data/phantom --studies 2000 --size 256 --seed 0",
)
def phantom(
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="A new folder; its manifest.csv is what recipes read."),
    ],
    studies: Annotated[int, typer.Option(min=1, help="How many.")] = 2000,
    size: Annotated[int, typer.Option(min=64, help="Pixels of a side.")] = 256,
    seed: SeedOption = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = os.cpu_count() or 1,
) -> None:
    """Draw synthetic radiographs with reports, labels, masks and boxes."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise PlaceError(
            "is not a new or empty folder", code="PL-C004", file=out, fix="take another --out"
        )

    from place_cxr.phantom import write_phantom

    with progress_bar("studies") as progress:
        manifest = write_phantom(out, studies, size, seed, workers, progress)
    typer.echo(manifest)


@register_command(
    data_app,
    "ls",
    "List the data sets that can be read.",
    "place data ls",
    "place data ls /data/rsna                  the files of each that are there",
    "place data ls --card rsna                 licence, layout, counts, traps",
)
def data_ls(
    root: Annotated[
        Path | None,
        typer.Argument(help="List the files that are missing there.", show_default=False),
    ] = None,
    card: Annotated[
        str, typer.Option("--card", metavar="NAME", help="Print one set's data card.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the data sets that can be read, with their tasks and splits.

    A recipe names one as data.source.
    """
    from place_cxr.core.registry import pick
    from place_cxr.data.sources import SOURCES
    from place_cxr.data.sources.listing import list_sources

    if card:
        text = pick(SOURCES, card, "source").card
        print_result({"name": card, "card": text}, text, as_json)
        return

    listed = list_sources(SOURCES, root)
    print_result(
        {entry.name: entry.to_dict() for entry in listed},
        "\n".join(entry.text() for entry in listed),
        as_json,
    )


@register_command(
    data_app,
    "check",
    "Find what is wrong with a data set.",
    "place data check --root data/phantom",
    "place data check --root data/manifest.csv --column patient=subject_id --fix data/clean.csv",
    "place data check --source rsna --root /data/rsna --option split=mgca",
)
def check(
    root: RootOption,
    source: SourceOption = "manifest",
    column: ColumnOption = None,
    option: SourceSettingOption = None,
    splits: SplitsOption = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="All findings, as CSV.")] = Path(
        "faults.csv"
    ),
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix", help="Write a manifest without the faulty rows, beside the first one."
        ),
    ] = None,
    show_names: Annotated[
        bool, typer.Option("--show-names", help="List file names, too: they may identify patients.")
    ] = False,
    workers: WorkersOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read every row and every image, and list what is wrong by code and row.

    Exit code 4 if there are errors. The data are not changed. Rows are lines of the manifest, or
    the numbers of studies where there is none.
    """
    for file in filter(None, (out, fix)):
        check_writable(file, overwrite)
    if fix and source != "manifest":
        raise PlaceError(
            "only a manifest can be written anew", code="PL-C003", fix="leave --fix out"
        )

    from place_cxr.data.checks.check import check_dataset
    from place_cxr.data.checks.faults import _SHOWN, count_by_code, fault_summary, write_faults
    from place_cxr.data.sources.lenient import write_clean_manifest

    with progress_bar("checking images") as progress:
        examined = check_dataset(
            source,
            root,
            source_options(column, option),
            split=_split_reader(splits),
            workers=workers,
            progress=progress,
        )

    faults = examined.faults
    write_faults(faults, out, names=show_names)
    lines = [fault_summary(faults, examined.total, names=show_names), f"All findings: {out}"]

    if fix:
        # An error without a row is one of the whole file.
        broken = any(fault.level == "error" and not fault.row for fault in faults)
        if examined.file is None or broken:
            raise PlaceError(
                "the manifest cannot be read at all",
                code="PL-D202",
                file=root,
                fix="mend it by hand",
            )

        # PL-D250, a repeated row, is only a warning, but a clean manifest has no repeats.
        faulty_rows = {
            fault.row for fault in faults if fault.level == "error" or fault.code == "PL-D250"
        }
        row_count = write_clean_manifest(examined.file, fix, faulty_rows)
        lines.append(f"{fix}: {row_count} rows without errors")

    errors = sum(fault.level == "error" for fault in faults)
    summary_table = {
        "rows": examined.total,
        "errors": errors,
        "warnings": len(faults) - errors,
        "counts": count_by_code(faults),
        "first": [[fault.code, fault.row, fault.problem] for fault in faults[:_SHOWN]],
        "csv": str(out),
    }

    print_result(summary_table, "\n".join(lines), as_json)
    if errors:
        raise typer.Exit(4)


@register_command(
    data_app,
    "card",
    "Describe a data set on one page.",
    "place data card --root data/phantom -o cards/phantom",
)
def card(
    root: RootOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="A folder for card.html and card.json.")],
    source: SourceOption = "manifest",
    column: ColumnOption = None,
    option: SourceSettingOption = None,
    splits: SplitsOption = None,
    pictures: Annotated[
        int, typer.Option(min=0, max=64, help="Number of images shown on the page.")
    ] = 0,
    rights: Annotated[
        bool,
        typer.Option(
            "--i-have-rights", help="You may show the images to everybody who gets the page."
        ),
    ] = False,
    workers: WorkersOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Write counts by split, view, sex, age and finding, statistics of reports, hashes, and faults.

    No patient, file or rare sentence is named. Images with burnt-in text are never shown.
    """
    if pictures and not rights:
        fix = "add --i-have-rights, or leave --pictures out"
        raise PlaceError("images of patients on a page", code="PL-C003", fix=fix)

    if (out / "card.json").exists():
        check_writable(out / "card.json", overwrite)
    from place_cxr.data.checks.card import build_data_card, sample_images
    from place_cxr.data.checks.check import check_dataset
    from place_cxr.data.sources import SOURCES
    from place_cxr.page.card import write_card_page

    with progress_bar("checking images") as progress:
        examined = check_dataset(
            source,
            root,
            source_options(column, option),
            split=_split_reader(splits),
            workers=workers,
            progress=progress,
        )

    # The docstring of a source module is the card of its data set.
    source_card = inspect.getdoc(sys.modules[SOURCES[source].__module__]) or ""
    page = write_card_page(
        build_data_card(examined, source, source_card), out, sample_images(examined, pictures)
    )
    typer.echo(f"Card: {page.resolve()}")


@register_command(
    data_app,
    "split",
    "Divide patients into train, val and test.",
    "place data split --root data/manifest.csv -o data/splits.csv",
    "place data split --root data/manifest.csv -o data/splits.csv --fractions 0.7 0.1 0.2 --seed 3",
)
def split(
    root: RootOption,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="The file of splits; a recipe names it as data.splits."),
    ],
    source: SourceOption = "manifest",
    column: ColumnOption = None,
    option: SourceSettingOption = None,
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(metavar="TRAIN VAL TEST", help="Fractions of the patients."),
    ] = (0.8, 0.1, 0.1),
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Split by patient and stratify by findings. Splits in the data are ignored.

    The printed digest identifies the split: a run stores it in its checkpoints.
    """
    check_writable(out, overwrite)
    from collections import Counter

    from place_cxr.data.sources import read_named_source
    from place_cxr.data.splits.stratified import split_stratified, write_splits

    studies = split_stratified(
        read_named_source(source, root, source_options(column, option)), seed, fractions
    )
    digest = write_splits(studies, out)
    counts = dict(Counter(study.split for study in studies))
    text = ", ".join(f"{name} {count}" for name, count in counts.items())
    print_result(
        {"splits": str(out), "images": counts, "digest": digest},
        f"{out}: {text}\ndigest {digest}",
        as_json,
    )


@register_command(
    data_app,
    "pack",
    "Decode all images into one portable folder.",
    "place data pack --root data/manifest.csv -o packs/mine",
    "place data pack --root data/manifest.csv -o packs/mine --shard 2/8",
    "place data pack --root data/manifest.csv -o packs/mine --tar shards/mine",
)
def data_pack(
    root: RootOption,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="The pack's folder: data.source=pack data.manifest=OUT."),
    ],
    source: SourceOption = "manifest",
    column: ColumnOption = None,
    option: SourceSettingOption = None,
    splits: SplitsOption = None,
    size: Annotated[
        int, typer.Option(min=16, help="Pixels of the square; a recipe's data.pack_size.")
    ] = 256,
    shard: Annotated[
        str,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only part I of N of the work; then run without --shard.",
        ),
    ] = "",
    tar: Annotated[
        Path | None,
        typer.Option("--tar", help="Also write WebDataset shards (png and json) into this folder."),
    ] = None,
    workers: WorkersOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Decode every image once, into a folder that needs neither the originals nor this machine.

    A stopped run continues. Several processes or machines may each do a part of the work (--shard);
    a last run without --shard joins the parts and does what is missing.
    """
    from place_cxr.data.packs.export import pack_dataset as pack_all
    from place_cxr.data.packs.tars import write_tars
    from place_cxr.data.sources import read_named_source
    from place_cxr.text.reports import select_with_report

    if overwrite and out.is_dir() and not shard:
        for name in ("data", "parts"):  # anything else in the folder stays
            shutil.rmtree(out / name, ignore_errors=True)

    studies = select_with_report(
        _split_reader(splits)(read_named_source(source, root, source_options(column, option)))
    )
    # Paths in a manifest are relative to its folder.
    base = root if root.is_dir() else root.parent

    with progress_bar("decoding images") as progress:
        packed = pack_all(
            studies, base, size, out, shard=_parse_shard(shard), workers=workers, progress=progress
        )

    if packed is None:
        typer.echo(f"{out}: shard {shard} is done; when all are, run it once more without --shard")
        return

    counts = f"{len(packed.rows)} of {len(studies)} images"
    typer.echo(f"{out}: {counts}, {packed.pixels.shape[1]} pixels a side")
    typer.echo(f"digest {packed.digest}")
    if tar:
        with progress_bar("writing shards") as progress:
            files = write_tars(studies, packed, tar, progress)
        typer.echo(f"{tar}: {len(files)} files")


def _split_reader(file: Path | None) -> Callable[[list[Study]], list[Study]]:
    if file is None:
        return lambda studies: studies
    from place_cxr.data.splits.stratified import apply_splits

    return partial(apply_splits, file=file)


def _parse_shard(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise PlaceError(f"'{text}' is no shard", code="PL-C009", fix="write e.g. --shard 1/4")
    return int(number), int(count)
