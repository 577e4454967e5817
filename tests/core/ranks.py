"""What each of two processes does in test_distributed.py: ``python ranks.py MANIFEST FOLDER``, told
by a launcher.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from place_cxr import pretrain
from place_cxr.core import distributed
from place_cxr.core.tensors import move_to_device
from place_cxr.data.corpus import prepare_corpus
from place_cxr.losses import fields_read
from place_cxr.pretrain import PretrainConfig
from place_cxr.training.loop import create_accelerator

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.small import small

# No batch norm, which would see half of a batch in each process, and no dropout, which each process
# draws for itself.
OVERRIDES = (
    "model.image={name: vit_tiny_patch16_224, size: 48, options: {depth: 1, embed_dim: 48, "
    "num_heads: 3}}",
    "model.text.dropout=0",
    "losses.instance.weight=0.7",
    "losses.pathology_pair.weight=1.3",
    "losses.pathology_sentence.weight=0.5",
    "train.steps=3",
    "train.log_every=1",
)
# Without the instance loss nothing reads the last stage of a CNN; every gradient must still arrive.
ABLATION = ("losses.instance.weight=0", "losses.pathology_pair.options={chunk: 3}", "train.steps=2")
PEERS = (
    *OVERRIDES[:2],
    "model.tokens={hidden: 24}",
    "model.prototypes=20",
    "model.correlation=null",
    "losses={convirt: {}, gloria_global: {}, gloria_local: {options: {chunk: 3}}, mgca_instance: "
    "{}, mgca_token: {}, mgca_prototype: {}}",
)


def first_step(config: PretrainConfig) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The losses of this process's share of the first batch, and all gradients after the processes
    have agreed.
    """
    accelerator = create_accelerator("cpu")
    corpus = prepare_corpus(config.data, max_tokens=config.model.text.max_tokens)
    config = pretrain.complete_config(config, corpus)
    torch.manual_seed(0)
    model = pretrain.PlaceModel(config.model)
    batch = next(pretrain.make_loader(config, corpus).batches())
    model.freeze_unread(fields_read(config.losses))
    wrapped = accelerator.prepare_model(model)  # kept: its hooks live as long as it does
    value, parts = pretrain.make_loss(config)(wrapped, move_to_device(batch, "cpu"), 0)
    value.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {
        "total": float(value.detach()),
        **{name: float(parts[name].detach()) for name in config.losses},
    }, gradients


def main(manifest: Path, folder: Path) -> None:
    for method, overrides in (("place", OVERRIDES), ("peers", PEERS)):
        losses, gradients = first_step(small(manifest, *overrides))
        (folder / f"{method}{distributed.rank()}.json").write_text(json.dumps(losses))
        kept = {name: value.contiguous() for name, value in gradients.items()}
        save_file(kept, folder / f"{method}{distributed.rank()}.safetensors")
    pretrain.run_pretraining(small(manifest, *OVERRIDES), folder / "run", device="cpu")
    pretrain.run_pretraining(small(manifest, *ABLATION), folder / "ablation", device="cpu")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
