"""``place cache``: the decoded data that runs keep."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from place_cxr.cli.console import print_result
from place_cxr.cli.options import JsonOption, command_group, register_command

cache_app = command_group(
    "cache",
    "Decoded images and texts that runs keep.",
    "place cache purge --dry-run               how much it would free",
    "place cache purge",
)


@register_command(
    cache_app, "purge", "Remove them all.", "place cache purge --dry-run", "place cache purge"
)
def cache_purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be removed, and remove nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the packs in $PLACE_CACHE, by default ~/.cache/place-cxr, and no other file.

    Packs that are being built stay, and so do those of 'place data pack'. The next run decodes its
    data again.
    """
    from place_cxr.data.packs.cached import cache_root
    from place_cxr.data.packs.purge import purge_cache

    root = cache_root()
    purged = purge_cache(root, dry_run=dry_run)
    verb = "Would remove" if dry_run else "Removed"
    lines = [f"{verb} {purged.packs} packs, {purged.freed:,} bytes, from {root}"]
    if purged.busy:
        lines.append(f"{purged.busy} are being built and stay")

    print_result(
        {"cache": str(root), **asdict(purged), "dry_run": dry_run}, "\n".join(lines), as_json
    )
