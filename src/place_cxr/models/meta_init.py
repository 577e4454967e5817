"""Modules without memory for weights, for weights that are read from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate import init_empty_weights
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def init_on_meta_device() -> Iterator[None]:
    """Modules that are built inside the context have parameters on the meta device and real
    buffers. No random numbers are drawn.
    """
    with init_empty_weights(include_buffers=False), _SkipMetaInit():
        yield


class _SkipMetaInit(TorchFunctionMode):
    """Skips functions that fill a tensor without memory: they take half of the time to build."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")  # `torch.nn.init` passes it by name
        # torch's names of in-place functions end with one underscore.
        name = getattr(func, "__name__", "")
        fills = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"

        if fills and isinstance(target, Tensor) and target.is_meta:
            return target

        return func(*args, **kwargs)
