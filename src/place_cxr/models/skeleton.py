"""Modules of names and shapes alone, to be filled with weights that exist already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate import init_empty_weights
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def init_on_meta_device() -> Iterator[None]:
    """Parameters of modules built in here lie on the meta device; buffers are real. Nothing is
    drawn at random.
    """
    with init_empty_weights(include_buffers=False), _SkipMetaInit():
        yield


class _SkipMetaInit(TorchFunctionMode):
    """Leaves a tensor without memory alone where it would be filled: the pretence takes half of the
    time to build.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")  # `torch.nn.init` hands it on by name
        name = getattr(func, "__name__", "")
        fills = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"

        return (
            target
            if fills and isinstance(target, Tensor) and target.is_meta
            else func(*args, **kwargs)
        )
