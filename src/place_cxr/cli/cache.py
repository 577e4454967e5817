"""The command ``place cache``: what runs keep of the data beside their results."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from place_cxr.cli.console import print_result
from place_cxr.cli.options import JsonOption, command_group, register_command

cache_app = command_group(
    "cache",
    "Decoded pictures and texts that runs keep.",
    "place cache purge --dry-run               how much it would free",
    "place cache purge",
)


@register_command(
    cache_app, "purge", "Remove them all.", "place cache purge --dry-run", "place cache purge"
)
def cache_purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the packs in $PLACE_CACHE, else ~/.cache/place-cxr, but none that is being built, and
    no other file.

    The next run decodes its data again. Packs of 'place data pack' are yours and stay.
    """
    from place_cxr.data.packs.cached import cache_root
    from place_cxr.data.packs.purge import purge_cache

    root = cache_root()
    purged = purge_cache(root, dry_run=dry_run)
    lines = [
        f"{'Would remove' if dry_run else 'Removed'} {purged.packs} packs, {purged.freed:,} bytes, "
        f"from {root}"
    ]
    lines += [f"{purged.busy} are being built and stay"] if purged.busy else []
    print_result(
        {"cache": str(root), **asdict(purged), "dry_run": dry_run}, "\n".join(lines), as_json
    )
