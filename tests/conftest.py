"""Rules of every test: shapes are checked, no network, one thread, fixed seeds."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# These variables are read when torch, matplotlib or transformers is imported, so they come first.
# One thread: a sum is then split the same way in a run that is stopped and resumed.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HYPOTHESIS_PROFILE", "ci")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"
os.environ["NO_COLOR"] = "1"

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Modules whose tensors and arrays carry shapes. Everywhere else mypy checks the types.
SHAPED = ("core.tensors", "models", "losses", "metrics", "images.views", "data.loader")
install_import_hook([f"place_cxr.{name}" for name in SHAPED], "beartype.beartype")

settings.register_profile(
    "ci",
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ["HYPOTHESIS_PROFILE"])

# The fault catalogue: a family's letter and how many rows it has.
FAULTS = {"C": 15, "R": 11, "D": 7, "I": 10, "X": 9, "T": 5, "S": 8, "E": 8, "W": 12, "P": 7}
ROWS = [f"{letter}{number}" for letter, count in FAULTS.items() for number in range(1, count + 1)]
LOOPBACK = ("127.", "::1", "localhost")
_proved: set[str] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests 300 s; a fault id that is not in the catalogue is a spelling mistake."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))
        for mark in item.iter_markers("fault"):
            unknown = set(mark.args) - set(ROWS)
            if unknown or not mark.args:
                raise pytest.UsageError(
                    f"{item.nodeid}: no such row in the fault catalogue: {sorted(unknown)}"
                )
            _proved.update(mark.args)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """After a run of the whole suite, print which rows of the fault catalogue have no test."""
    if _proved and not config.option.keyword and not config.option.file_or_dir:
        missing = [row for row in ROWS if row not in _proved]
        terminalreporter.section("fault catalogue")
        terminalreporter.line(
            f"{len(_proved)} of {len(ROWS)} rows have a test; without: "
            f"{' '.join(missing) or 'none'}"
        )


def _loopback_only(original: Any) -> Any:
    """``socket.connect``, but an address outside this machine raises RuntimeError."""

    def connect(self: socket.socket, address: Any) -> Any:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and not str(host).startswith(LOOPBACK):
            raise RuntimeError(f"a test tried to reach the network: {host}")
        return original(self, address)

    return connect


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """No test, and no library that it calls, reaches the network (fault R11)."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _loopback_only(getattr(socket.socket, name)))
        yield


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """Reset the package's log: an earlier command in this process may have sent it to the
    screen.
    """
    log = logging.getLogger("place_cxr")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Packs that tests write go to a folder of this session, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("PLACE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 40 synthetic studies, 24 of them for training. Tests only read them."""
    from place_cxr.phantom import write_phantom

    return write_phantom(tmp_path_factory.mktemp("phantom"), 40, 64, 0, workers=1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """The run folder of a small pre-training on ``phantom`` that was never interrupted.

    Tests only read it. ``tests/small.py`` has its recipe.
    """
    from place_cxr import pretrain
    from tests.small import small

    out = tmp_path_factory.mktemp("runs") / "trained"
    pretrain.run_pretraining(small(phantom), out, device="cpu")
    return out


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real sample radiographs; the test is skipped where there is none."""
    folder = os.environ.get("PLACE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PLACE_TEST_DATA names no folder with sample radiographs (docs/data.md)")
    return Path(folder).resolve()
