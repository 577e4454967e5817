"""Report decoder: an autoregressive transformer with cross-attention to patch tokens and V-PORs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings
from place_cxr.models.attention import Attention, grid_positions

KeyValue = tuple[Tensor, Tensor]  # keys and values, each [R, H, N, W / H]
# Fraction of images with unfinished reports at which the search drops the finished ones.
_SHRINK_BELOW = 0.8


class DecoderSettings(Settings):
    """The decoder's shape and limits."""

    width: int = 128  # [ours] for small data and one core; R2Gen has 512
    heads: int = 4  # [ours]; R2Gen has 8 of 64
    layers: int = 2  # [ours]; R2Gen has 3
    dropout: float = 0.0  # [ours] 0.1 learns a third slower (docs/LOG.md); R2Gen has 0.1
    max_tokens: int = 100  # [R2Gen] for MIMIC-CXR; 60 for the Indiana University set


@dataclass(frozen=True, slots=True)
class GeneratedReports:
    """Reports of B images. ``ids`` end with the stop token unless the length limit came first; the
    rest is padding.

    ``scores`` are log-probabilities of whole reports divided by length ** length_penalty.
    """

    ids: Int[Tensor, "B T"]
    scores: Float[Tensor, "B"]


class _Block(nn.Module):
    """Causal self-attention, cross-attention, MLP; pre-norm, residual."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        width, heads = settings.width, settings.heads
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_cross, self.cross_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(settings.dropout)

    def forward(
        self,
        x: Float[Tensor, "R L W"],
        read: KeyValue,
        visible: Tensor | None,
        past: KeyValue | None,
        *,
        maps: bool,
    ) -> tuple[Float[Tensor, "R L W"], KeyValue, Tensor | None]:
        """The next states, all keys and values so far, and with ``maps`` the attention to the
        memory [B, R / B * L, N].

        ``read`` is the memory of B images. R is a multiple of B, because the beams of an image
        share its memory. Without ``past`` the L states are a whole sequence; with ``past`` there is
        one new state.
        """
        normed = self.norm_self(x)
        key_value = _keys_values(self.self_attention, normed)
        if past is not None:
            key, value = key_value
            key_value = (torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2))

        query = _split_heads(self.self_attention, self.self_attention.query(normed))
        attended = F.scaled_dot_product_attention(query, *key_value, is_causal=past is None)
        x = x + self.drop(self.self_attention.out(attended.transpose(1, 2).flatten(2)))

        # The beams of an image stand behind each other as queries: its memory is not copied.
        cross_states = self.norm_cross(x).reshape(len(read[0]), -1, x.shape[-1])
        query = _split_heads(self.cross_attention, self.cross_attention.query(cross_states))
        weight = None
        if maps:  # by hand, as fused attention does not return its weights
            key, value = read
            score = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).float()
            if visible is not None:
                score = score.masked_fill(~visible, -torch.inf)
            weight = score.softmax(-1)
            attended = weight.to(value.dtype) @ value
            weight = weight.mean(1)
        else:
            attended = F.scaled_dot_product_attention(query, *read, visible)

        attended = self.cross_attention.out(attended.transpose(1, 2).flatten(2))
        x = x + self.drop(attended.reshape(x.shape))

        return x + self.drop(self.mlp(self.norm_mlp(x))), key_value, weight


def _split_heads(attention: Attention, x: Tensor) -> Tensor:
    return x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)


def _keys_values(attention: Attention, x: Tensor) -> KeyValue:
    key, value = attention.key_value(x).chunk(2, dim=-1)
    return _split_heads(attention, key), _split_heads(attention, value)


class ReportDecoder(nn.Module):
    """Generates a report from one or more kinds of memory, such as patch tokens [B, P, C] and
    V-PORs [B, K, D].

    ``memory_widths`` holds the width of each kind; each has its own projection and a type vector.
    With ``grid`` (rows, columns) the first kind is a grid of patches, and codes of their positions
    are added. A ``mask`` [B, N] covers the kinds one after another; False hides a position, and
    each row has a visible one.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        memory_widths: Sequence[int],
        vocab_size: int,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(w), nn.Linear(w, width)) for w in memory_widths
        )
        self.kind = nn.Parameter(torch.randn(len(memory_widths), width) * 0.02)
        position_code = torch.zeros(1, width) if grid is None else grid_positions(*grid, width)
        self.register_buffer("place", position_code, persistent=False)
        self.word = nn.Embedding(vocab_size, width)
        # The start token stands before max_tokens others.
        self.position = nn.Embedding(settings.max_tokens + 1, width)
        # The word embedding is the output layer too: with this scale logits start near 0.
        nn.init.normal_(self.word.weight, std=width**-0.5)
        nn.init.normal_(self.position.weight, std=width**-0.5)
        self.drop = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        memory: Sequence[Tensor],
        ids: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B L V"]:
        """Logits of the token after each of ``ids``, which begin with the start token (teacher
        forcing).

        Padding at the end of ``ids`` needs no mask, as no token sees later ones. Raises PlaceError
        PL-C003 where ``ids`` are longer than the settings allow.
        """
        states, _, _ = self._run(
            self._embed(ids, 0), self._memory_key_values(memory), _broadcast_mask(mask), None
        )

        return self._logits(states)

    def loss(
        self, memory: Sequence[Tensor], ids: Int[Tensor, "B L"], real: Bool[Tensor, "B L"]
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of every token but the first of each row, given those before it
        (teacher forcing).

        ``ids`` begin with the start token; False in ``real`` is padding at the end of a row.
        """
        states, _, _ = self._run(
            self._embed(ids[:, :-1], 0), self._memory_key_values(memory), None, None
        )

        # Logits are the largest tensor, so they are computed for real tokens alone.
        is_target = real[:, 1:]

        return F.cross_entropy(self._logits(states[is_target]), ids[:, 1:][is_target])

    @torch.no_grad()
    def generate(
        self,
        memory: Sequence[Tensor],
        mask: Bool[Tensor, "B N"] | None = None,
        *,
        start: int,
        stop: int,
        pad: int,
        beams: int = 3,  # [R2Gen]
        max_tokens: int | None = None,
        length_penalty: float = 1.0,
    ) -> GeneratedReports:
        """The best report of each image by beam search; one beam is greedy search.

        Hypotheses, finished or not, are ranked by log-probability over length ** ``length_penalty``
        (with the stop token): 0 prefers short reports, 1 is the mean over tokens, more prefers long
        ones. Search ends when all beams of all images are finished or have ``max_tokens`` tokens,
        by default the maximum of the settings. The start token and padding are never generated.
        Dropout is off. Raises PlaceError PL-C003 for more tokens than the settings allow.
        """
        limit = self.settings.max_tokens if max_tokens is None else max_tokens
        self._check(limit)
        with _eval_mode(self):
            reads, visible = self._memory_key_values(memory), _broadcast_mask(mask)
            return GeneratedReports(
                *self._search(reads, visible, (start, stop, pad), beams, limit, length_penalty)
            )

    @torch.no_grad()
    def attention(
        self,
        memory: Sequence[Tensor],
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B N"] | None = None,
        *,
        start: int,
        pad: int,
    ) -> Float[Tensor, "B T N"]:
        """Attention to the memory at each of ``ids``: mean over heads and layers, dropout off.

        Rows sum to 1, and are 0 where padded.
        """
        # A token is predicted at the position before it.
        before = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)
        with _eval_mode(self):
            _, _, attention_map = self._run(
                self._embed(before, 0),
                self._memory_key_values(memory),
                _broadcast_mask(mask),
                None,
                maps=True,
            )

        assert attention_map is not None

        return attention_map * (ids != pad)[..., None]

    def _search(
        self,
        reads: list[KeyValue],
        visible: Tensor | None,
        special: tuple[int, int, int],
        beams: int,
        limit: int,
        length_penalty: float,
    ) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B"]]:
        """Token ids and scores of the best hypothesis of each image, see `generate`."""
        start, stop, pad = special
        batch, device, vocab = len(reads[0][0]), self.word.weight.device, self.word.num_embeddings
        ids = torch.full((batch, limit), pad, device=device)
        scores = torch.empty(batch, device=device)

        # The state of the search: images with unfinished beams, and of each of their beams the
        # log-probability, length, whether it is finished, and its tokens.
        image = torch.arange(batch, device=device)
        total = torch.full((batch, beams), -torch.inf, device=device)
        total[:, 0] = 0.0  # all beams begin alike, so only one counts
        length = torch.zeros_like(total)
        done = torch.zeros_like(total, dtype=torch.bool)
        written = torch.empty((batch, beams, 0), dtype=torch.long, device=device)

        # A finished beam goes on with padding at no cost, so it competes with the unfinished ones.
        only_pad = torch.full((vocab,), -torch.inf, device=device)
        only_pad[pad] = 0.0
        last = torch.full((batch * beams, 1), start, device=device)
        past: list[KeyValue] | None = None
        longest = 0

        for step in range(limit):
            states, past, _ = self._run(self._embed(last, step), reads, visible, past)
            logits = self._logits(states[:, -1]).float()
            logits[:, [start, pad]] = -torch.inf
            log_probability = logits.log_softmax(-1).view(len(image), beams, vocab)
            gain = torch.where(done[..., None], only_pad, log_probability)

            # The best continuations over all beams of an image: their beam and their token.
            length = length + ~done
            sums = total[..., None] + gain
            score, chosen = (sums / length[..., None] ** length_penalty).flatten(1).topk(beams)
            parent, token = chosen // vocab, chosen % vocab

            # Each new beam takes over the state of the beam that it continues.
            total, length = sums.flatten(1).gather(1, chosen), length.gather(1, parent)
            done = done.gather(1, parent) | (token == stop)
            prefix = written.gather(1, parent[..., None].expand_as(written))
            written = torch.cat([prefix, token[..., None]], dim=-1)

            # topk sorts, so the first beam is the best.
            ids[image, : step + 1] = written[:, 0]
            scores[image] = score[:, 0]
            longest = step + 1
            unfinished = ~done.all(1)
            if not unfinished.any():
                break

            # Finished images cost as much as others, so they are dropped from time to time.
            rows = torch.arange(len(image), device=device)[:, None] * beams + parent
            if unfinished.sum() <= _SHRINK_BELOW * len(image):
                image, total, length, done, written = (
                    x[unfinished] for x in (image, total, length, done, written)
                )
                reads = [(key[unfinished], value[unfinished]) for key, value in reads]
                visible = visible if visible is None else visible[unfinished]
                rows, token = rows[unfinished], token[unfinished]

            past = [(key[rows.flatten()], value[rows.flatten()]) for key, value in past]
            last = token.reshape(-1, 1)

        return ids[:, :longest], scores

    def _check(self, tokens: int) -> None:
        if not 1 <= tokens <= self.settings.max_tokens:
            raise PlaceError(
                f"{tokens} tokens asked of a decoder of 1 to {self.settings.max_tokens}",
                code="PL-C003",
                fix="set max_tokens of the decoder before training",
            )

    def _embed(self, ids: Int[Tensor, "R L"], first: int) -> Float[Tensor, "R L W"]:
        if first + ids.shape[1] > self.position.num_embeddings:
            self._check(first + ids.shape[1] - 1)
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)
        return self.drop(self.word(ids) + self.position(positions))

    def _memory_key_values(self, memory: Sequence[Tensor]) -> list[KeyValue]:
        """Keys and values of the memory for each block, computed once for all tokens."""
        parts = []
        for project, part, kind in zip(self.project, memory, self.kind, strict=True):
            parts.append(project(part) + kind)

        # Only the first kind lies on a grid.
        parts[0] = parts[0] + self.place
        joined = torch.cat(parts, dim=1)

        return [_keys_values(block.cross_attention, joined) for block in self._blocks()]

    def _blocks(self) -> list[_Block]:
        return [block for block in self.blocks if isinstance(block, _Block)]

    def _run(
        self,
        x: Float[Tensor, "R L W"],
        reads: list[KeyValue],
        visible: Tensor | None,
        past: list[KeyValue] | None,
        *,
        maps: bool = False,
    ) -> tuple[Float[Tensor, "R L W"], list[KeyValue], Tensor | None]:
        """States behind all blocks, their keys and values, and with ``maps`` the attention to the
        memory, a mean over heads and blocks.
        """
        stored, attention_maps = [], []
        for i, (block, read) in enumerate(zip(self.blocks, reads, strict=True)):
            x, key_value, weight = block(
                x, read, visible, None if past is None else past[i], maps=maps
            )
            stored.append(key_value)
            attention_maps.append(weight)

        return self.norm(x), stored, torch.stack(attention_maps).mean(0) if maps else None

    def _logits(self, states: Tensor) -> Tensor:
        return F.linear(states, self.word.weight)


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) inside the context."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _broadcast_mask(mask: Bool[Tensor, "B N"] | None) -> Tensor | None:
    return None if mask is None else mask[:, None, None, :]
