"""What the published implementations answer on fixed inputs, and how near we must come.

The folder ``oracles`` of the test data has a README with sources and tolerances. Inputs are single
precision; arrays ``NAME__float64`` are what the original code answers when the same inputs are cast
to double precision.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NEAR = {torch.float64: 1e-10, torch.float32: 1e-5}  # largest difference over the largest value


class Oracle:
    """One file: its inputs as tensors of ``dtype``, its answers to compare with."""

    def __init__(self, test_data: Path, name: str, dtype: torch.dtype = torch.float64) -> None:
        with np.load(test_data / "oracles" / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = dict(file)
        self.dtype = dtype

    def number(self, name: str) -> float:
        """A scalar input."""
        return float(self.arrays[name])

    def input(self, name: str) -> Tensor:
        """An input array that gradients are wanted for."""
        return torch.tensor(self.arrays[name], dtype=self.dtype, requires_grad=True)

    def raw(self, name: str) -> Tensor:
        """An array as it is stored."""
        return torch.tensor(self.arrays[name])

    def check(self, name: str, found: Tensor | np.ndarray, tolerance: float = 0.0) -> None:
        """``found`` equals the answer ``name`` of the run in the same precision, or of the only run
        there is.
        """
        double = self.arrays.get(f"{name}__float64") if self.dtype == torch.float64 else None
        expected = np.asarray(self.arrays[name] if double is None else double, np.float64)
        ours = np.asarray(
            found.detach() if isinstance(found, Tensor) else found, np.float64
        ).reshape(expected.shape)
        error = float(np.abs(ours - expected).max()) / float(np.abs(expected).max())
        assert error <= max(tolerance, NEAR[self.dtype]), (
            f"{name}: {error:.1e} away from the published value"
        )

    def check_gradients(self, loss: Tensor, of: dict[str, Tensor], tolerance: float = 0.0) -> None:
        """The gradients of ``loss``: for each answer ``grad_NAME``, of that tensor."""
        found = torch.autograd.grad(loss, list(of.values()), retain_graph=True)
        for name, gradient in zip(of, found, strict=True):
            self.check(f"grad_{name}", gradient, tolerance)
