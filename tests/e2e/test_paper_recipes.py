"""The recipes of the paper's setting on a small phantom, and encoders that come from local
files.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from place_cxr import predict, pretrain
from place_cxr.core.errors import PlaceError
from place_cxr.data.corpus import prepare_corpus
from place_cxr.training import checkpoint
from tests.small import digest, small


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A folder as `save_pretrained` leaves it: a BERT of three layers, and the tokenizer that
    belongs to it.
    """
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = prepare_corpus(small(phantom).data, max_tokens=64).tokenizer
    tokenizer.save(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size + 7,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=120,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def from_files(bert: Path) -> list[str]:
    return [f"model.text.weights={bert}", f"data.tokenizer={bert}", "model.text.layers=2"]


def test_a_run_with_a_given_text_encoder_needs_its_folder_once(
    phantom: Path, bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    config = small(phantom, "train.steps=2", *from_files(folder))
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu", stop_at=1)
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu", resume="auto")
    shutil.rmtree(folder)
    model, processor = predict.load(tmp_path / "run")
    assert digest(model.state_dict()) == digest(checkpoint.load(tmp_path / "run").weights)
    assert (model.text_encoder.width, len(model.text_encoder.body.encoder.layer)) == (24, 2)
    saved = checkpoint.load(tmp_path / "run").config["model"]["text"]
    assert (saved["width"], saved["heads"], saved["layers"]) == (24, 3, 2)
    assert model.encode_text(processor(text="left pleural effusion")).shape == (1, 16)


def test_the_weights_are_those_of_the_folder(phantom: Path, bert: Path) -> None:
    config = small(phantom, *from_files(bert))
    model = pretrain.PlaceModel(
        pretrain.complete_config(config, prepare_corpus(config.data, max_tokens=64)).model
    )
    given = BertModel.from_pretrained(bert).state_dict()
    body = model.text_encoder.body.state_dict()
    assert len(body) > 30
    assert all(torch.equal(value, given[name]) for name, value in body.items())


@pytest.mark.fault("C9")
def test_folders_that_hold_no_such_encoder(phantom: Path, bert: Path, tmp_path: Path) -> None:
    def refuse(folder: Path, code: str, *overrides: str) -> str:
        given = [f"model.text.weights={folder}", *overrides]
        with pytest.raises(PlaceError) as refusal:
            pretrain.dry_run(small(phantom, f"data.tokenizer={bert}", *given), device="cpu")
        assert refusal.value.code == code
        return str(refusal.value)

    refuse(tmp_path / "none", "PL-R101")
    assert "max_tokens" in refuse(bert, "PL-C003", "model.text.max_tokens=128")
    changed = Path(shutil.copytree(bert, tmp_path / "changed"))
    about = json.loads((changed / "config.json").read_text())
    for key, value in (("model_type", "roberta"), ("vocab_size", 20)):
        (changed / "config.json").write_text(json.dumps({**about, key: value}))
        refuse(changed, "PL-R109")
    (changed / "config.json").write_text(json.dumps(about))
    (changed / "model.safetensors").unlink()
    (changed / "pytorch_model.bin").write_bytes(b"a pickle")
    assert "save_pretrained" in refuse(changed, "PL-R106")
    save_file({"nothing": torch.ones(1)}, changed / "model.safetensors", {"format": "pt"})
    refuse(changed, "PL-R109")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "encoder"), [("mimic-vitb16", "vit_base_patch16_224"), ("mimic-r50", "resnet50")]
)
def test_the_papers_recipes_take_two_steps(
    phantom: Path, bert: Path, tmp_path: Path, recipe: str, encoder: str
) -> None:
    """All at full size but the batch; ResNet-50 with weights from files, ViT with a text encoder of
    full width.
    """
    overrides = [f"data.manifest={phantom}", "data.source=manifest", "data.options={}"]
    overrides += ["train.batch_size=2", "model.text.layers=2"]
    if encoder == "resnet50":
        weights = timm.create_model(encoder, num_classes=5).state_dict()
        save_file(
            {name: value.contiguous() for name, value in weights.items()},
            tmp_path / "w.safetensors",
        )
        overrides += [f"model.image.weights={tmp_path}/w.safetensors", *from_files(bert)]
    said = pretrain.run_recipe(recipe, overrides, out=tmp_path / "run", dry=True, device="cpu")
    assert all(0 < loss < 20 for loss in said["losses"])
    assert said["data"]["images"]["train"] == 24
    assert (
        said["parameters"] > 2 * {"vit_base_patch16_224": 85e6, "resnet50": 23e6}[encoder]
    )  # student and teacher
