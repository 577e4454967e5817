"""Text encoders: any Hugging Face BERT, run on the real tokens only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Features, Tokens

_LARGEST_SIZE = 1 << 20  # of a vocabulary: four times the largest that is known
_Width = Annotated[int, Field(ge=1, le=16384)]
_Count = Annotated[int, Field(ge=1, le=200)]
_Length = Annotated[int, Field(ge=1, le=1 << 16)]
_Rate = Annotated[float, Field(ge=0, le=1)]


class _BertShape(Settings):
    """The values of a BERT's configuration that decide its shape and arithmetic.

    No others are read from a folder or a checkpoint: `_attn_implementation`, for one, names code.
    The defaults are never used: a value that is not given is that of transformers.
    """

    vocab_size: int = Field(1, ge=1, le=_LARGEST_SIZE)
    hidden_size: _Width = 1
    num_hidden_layers: _Count = 1
    num_attention_heads: _Count = 1
    intermediate_size: _Length = 1
    hidden_act: Literal["gelu", "gelu_new", "gelu_fast", "relu", "silu", "swish", "tanh"] = "gelu"
    hidden_dropout_prob: _Rate = 0
    attention_probs_dropout_prob: _Rate = 0
    max_position_embeddings: _Length = 1
    type_vocab_size: _Length = 1
    layer_norm_eps: _Rate = 0
    pad_token_id: int | None = Field(None, ge=0, le=_LARGEST_SIZE)


_BERT_KEYS = tuple(_BertShape.model_fields)


class TextSettings(Settings):
    """A BERT from a folder, or a small one of the given shape with random weights."""

    # folder of a Hugging Face BERT (Bio_ClinicalBERT in the paper setting [MGCA]); empty = random
    weights: str = ""
    width: _Width = 768
    layers: _Count = 12  # first layers kept when `weights` has more; MGCA keeps 6 of 12
    heads: _Count = 12
    max_tokens: int = Field(112, le=1 << 16)  # [MGCA]
    dropout: _Rate = 0.1  # BERT's own
    pool: Literal["first", "mean"] = (
        "first"  # [MGCA] first token's state; mean suits a text encoder without pre-training
    )
    vocab_size: int = Field(0, ge=0, le=_LARGEST_SIZE)  # filled in from the tokenizer
    bert: dict[
        str, Any
        # BERT's own configuration, filled in from `weights`, so that a checkpoint needs no folder
    ] = {}

    @field_validator("bert")
    @classmethod
    def _check_bert(cls, bert: dict[str, Any]) -> dict[str, Any]:
        try:
            _BertShape.model_validate(bert, strict=True)
        except ValidationError:
            raise ValueError("holds a value that is none of a BERT's shape") from None

        return bert


def complete_text_settings(settings: TextSettings, vocab_size: int) -> TextSettings:
    """The settings with what the tokenizer and the folder of weights decide. Raises PlaceError
    PL-R101, PL-R109.
    """
    if not settings.weights:
        return settings.model_copy(update={"vocab_size": vocab_size})
    config = _read_config(settings.weights)
    if config.vocab_size < vocab_size:
        raise PlaceError(
            f"the tokenizer has {vocab_size} tokens, the text encoder {config.vocab_size}",
            code="PL-R109",
            file=settings.weights,
            fix="set data.tokenizer to the tokenizer that belongs to these weights",
        )

    if config.max_position_embeddings < settings.max_tokens:
        raise PlaceError(
            f"text.max_tokens is {settings.max_tokens}, the text encoder has "
            f"{config.max_position_embeddings} positions",
            code="PL-C003",
            file=settings.weights,
            fix=f"set model.text.max_tokens to at most {config.max_position_embeddings}",
        )

    config.num_hidden_layers = min(settings.layers, config.num_hidden_layers)
    shape = {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
    }
    bert = {name: value for name, value in config.to_dict().items() if name in _BERT_KEYS}

    return settings.model_copy(update={**shape, "vocab_size": vocab_size, "bert": bert})


class TextEncoder(nn.Module):
    """A BERT: reports to pooled vectors and token states."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__()
        self.settings = settings
        self.body = _create(settings)
        self.width: int = self.body.config.hidden_size

    def forward(self, tokens: Tokens, attend: bool = False) -> Features:
        """Pooled [B, C] and token states [B, L, C], zero where padded.

        ``attend`` adds the attention of the pooled tokens to each token in the last layer.
        """
        # Linear layers run on the T real tokens alone, attention on the padded view [B, L]. The
        # result equals the padded run on every real token (docs/decisions/0019-unpadded-text.md).
        batch, length = tokens.ids.shape
        flat = tokens.mask.flatten().nonzero().squeeze(1) if tokens.flat is None else tokens.flat
        position = torch.arange(length, device=flat.device).expand(batch, -1).flatten()[flat]
        ids = tokens.ids.flatten()[flat]
        hidden = self.body.embeddings(input_ids=ids[None], position_ids=position[None])[0]
        visible = tokens.mask[:, None, None, :]
        before = hidden

        for layer in self.body.encoder.layer:
            before = hidden
            hidden = _layer(layer, hidden, flat, visible, (batch, length), self.training)

        states = _pad(hidden, flat, batch * length).unflatten(0, (batch, length))
        pooled = states[:, 0]
        if self.settings.pool == "mean":
            pooled = states.sum(1) / tokens.mask.sum(1, keepdim=True).clamp(min=1)
        if not attend:
            return Features(pooled, states, (1, length))

        # Which tokens the pooled vector stands for: the first alone, or all real ones.
        pooled_mask = tokens.mask[:, :1] if self.settings.pool == "first" else tokens.mask

        attention = _attention(layer, before, flat, tokens.mask, pooled_mask)

        return Features(pooled, states, (1, length), attention)


def _layer(
    layer: Any,
    hidden: Float[Tensor, "T C"],
    flat: Int[Tensor, "T"],
    visible: Tensor,
    shape: tuple[int, int],
    training: bool,
) -> Float[Tensor, "T C"]:
    """One BERT layer on the real tokens."""
    attention = layer.attention.self
    heads = attention.num_attention_heads
    query, key, value = (
        _split(project(hidden), flat, shape, heads)
        for project in (attention.query, attention.key, attention.value)
    )
    attended = F.scaled_dot_product_attention(
        query, key, value, visible, dropout_p=attention.dropout.p if training else 0.0
    )

    # Heads joined again, [B, heads, L, W] to [B L, C], and the real tokens picked out of it.
    joined = attended.transpose(1, 2).flatten(2).flatten(0, 1)
    hidden = layer.attention.output(joined[flat], hidden)

    return layer.output(layer.intermediate(hidden), hidden)


@torch.no_grad()
def _attention(
    layer: Any,
    hidden: Float[Tensor, "T C"],
    flat: Int[Tensor, "T"],
    mask: Bool[Tensor, "B L"],
    query_mask: Bool[Tensor, "B Q"],
) -> Float[Tensor, "B L"]:
    """Attention to each token, averaged over heads and over those of the first Q tokens that are
    True in ``query_mask``; 0 where padded.
    """
    # Computed again from the layer's input: fused attention does not return its weights.
    attention = layer.attention.self
    shape, heads = (mask.shape[0], mask.shape[1]), attention.num_attention_heads
    query, key = (
        _split(project(hidden), flat, shape, heads) for project in (attention.query, attention.key)
    )
    query = query[:, :, : query_mask.shape[1]]
    score = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).float()
    weight = score.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1).mean(1)

    return (weight * query_mask[..., None]).sum(1) / query_mask.sum(1, keepdim=True).clamp(min=1)


def _split(
    hidden: Float[Tensor, "T C"], flat: Int[Tensor, "T"], shape: tuple[int, int], heads: int
) -> Float[Tensor, "B heads L W"]:
    """The padded view of the real tokens, split into heads."""
    return (
        _pad(hidden, flat, shape[0] * shape[1])
        .unflatten(0, shape)
        .unflatten(-1, (heads, -1))
        .transpose(1, 2)
    )


def _pad(hidden: Float[Tensor, "T C"], flat: Int[Tensor, "T"], total: int) -> Float[Tensor, "BL C"]:
    """The real tokens at their positions in the flat batch, zeros elsewhere."""
    return hidden.new_zeros(total, hidden.shape[-1]).index_copy(0, flat, hidden)


def _create(settings: TextSettings) -> BertModel:
    if settings.weights:
        return _load(settings)
    if settings.bert:
        return BertModel(BertConfig(**settings.bert), add_pooling_layer=False)
    config = BertConfig(
        vocab_size=settings.vocab_size,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.width,
        max_position_embeddings=max(settings.max_tokens, 16),
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        type_vocab_size=1,
    )

    return BertModel(config, add_pooling_layer=False)


def _read_config(folder: str) -> BertConfig:
    fix = "download a BERT there and set model.text.weights"
    if not (Path(folder) / "config.json").is_file():
        raise PlaceError(
            "no such folder with a Hugging Face BERT", code="PL-R101", file=folder, fix=fix
        )

    try:
        values = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        is_bert = values["model_type"] == "bert"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise PlaceError(
            "its config.json cannot be read", code="PL-R109", file=folder, fix=fix
        ) from None

    if not is_bert:
        raise PlaceError("its model type is not bert", code="PL-R109", file=folder, fix=fix)

    shape = {name: value for name, value in values.items() if name in _BERT_KEYS}
    try:
        _BertShape.model_validate(shape, strict=True)
        return BertConfig(**shape)
    except (ValidationError, ValueError, TypeError):
        raise PlaceError(
            "its config.json is not that of a BERT", code="PL-R109", file=folder, fix=fix
        ) from None


def _load(settings: TextSettings) -> BertModel:
    """The BERT of a folder, with its first layers."""
    config = _read_config(settings.weights)
    files = sorted(Path(settings.weights).glob("*.safetensors"))
    if not files:
        raise PlaceError(
            "holds no .safetensors file, and pickled weights are not read",
            code="PL-R106",
            file=settings.weights,
            fix="save it again with transformers: "
            "BertModel.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )

    fix = "download it again"
    weights: dict[str, Tensor] = {}
    try:
        for file in files:
            weights |= load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError):
        problem = "a .safetensors file cannot be read"
        raise PlaceError(problem, code="PL-R109", file=settings.weights, fix=fix) from None

    # Of the folder only tensors are used: other files in it may name adapters or code.
    config.num_hidden_layers = min(settings.layers, config.num_hidden_layers)
    try:
        loaded: Any = BertModel.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            add_pooling_layer=False,
            output_loading_info=True,
        )
    except (RuntimeError, ValueError):
        problem = "its tensors are not those of its config.json"
        raise PlaceError(problem, code="PL-R109", file=settings.weights, fix=fix) from None

    body, loading_info = loaded
    if missing := sorted(loading_info["missing_keys"]):
        shown = ", ".join(missing[:5])
        problem = f"{len(missing)} tensors of a BERT are missing, first {shown}"
        raise PlaceError(problem, code="PL-R109", file=settings.weights, fix=fix)

    return body
