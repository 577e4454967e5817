"""The promises of conftest hold."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.fault("R11")
def test_network_is_out_of_reach() -> None:
    with socket.socket() as sock, pytest.raises(RuntimeError, match="reach the network"):
        sock.connect(("192.0.2.1", 80))
    with socket.socket() as sock, pytest.raises(RuntimeError, match="reach the network"):
        sock.connect_ex(("192.0.2.1", 80))


def test_loopback_is_in_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        sock.connect(server.getsockname())


def test_shapes_are_checked() -> None:
    import torch
    from jaxtyping import TypeCheckError

    from place_cxr.core.tensors import Observations

    Observations(vectors=torch.zeros(2, 3, 4), mask=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(TypeCheckError):
        Observations(vectors=torch.zeros(2, 3, 4), mask=torch.ones(2, 5, dtype=torch.bool))
