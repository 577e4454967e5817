"""docs/datasets.md says what the registry says."""

from __future__ import annotations

from pathlib import Path

from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.conventions import PUBLISHED_SIZES

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text("utf-8").splitlines()


def code(words: tuple[str, ...], between: str = ", ") -> str:
    return between.join(f"`{word}`" for word in words)


def test_every_source_has_its_row() -> None:
    rows = [line for line in PAGE if line.startswith("| `") and line.count("|") == 5][1:]
    expected = []
    for name, source in SOURCES.items():
        needs = "; ".join(code(names, " or ") for names in source.needs)
        splits = f" {code(source.splits)} " if source.splits else " "
        expected.append(f"| `{name}` | {', '.join(source.provides)} | {needs} |{splits}|")
    assert rows == expected


def test_every_published_size_has_its_row() -> None:
    rows = [
        line.rsplit("|", 2)[0] for line in PAGE if line.startswith("| `") and line.count("|") == 4
    ]
    assert rows == [
        f"| `{source}`, `{split}` | "
        f"{' / '.join('-' if size is None else f'{size:,}' for size in sizes)} "
        for (source, split), sizes in PUBLISHED_SIZES.items()
    ]
