"""Attention over KV pages in torch's operations: on a CPU slot by slot, elsewhere gathered for all slots at once.

Both read a clip's own positions and text only, so that neither its neighbours nor what an earlier clip left in its
pages matters. On a CPU, the length of what is read is the clip's own too, and with it the order of summation: a clip's
attention is bit-identical alone, in any batch and in any pages.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# tolist has no type.

from collections.abc import Sequence

import torch
from torch.nn import functional

from musicgen_serving.engine.model.decoder import Attention, arange
from musicgen_serving.engine.model.memory import PAGE, ROWS
from musicgen_serving.engine.step.page_allocator import adjacent_runs
from musicgen_serving.engine.step.slots import BatchView

Piece = tuple[slice, slice]  # of a layer's pages: which of its rows * heads, and which of its N * PAGE positions
ALL_ROWS = slice(None)


def paged_attention(view: BatchView, position: torch.Tensor) -> Attention:
    """Return attention at positions [n, T] of the view's slots; T is 1, or n is 1 and the positions start at 0."""
    return SlotAttention(view, position) if position.device.type == "cpu" else GatheredAttention(view, position)


class SlotAttention:
    """One call for each slot, of views of its pages where they are adjacent; reads the slots' state on the host."""

    def __init__(self, view: BatchView, position: torch.Tensor) -> None:
        state = view.state
        self.text_rows = view.text_rows
        self._pages = state.kv
        self._places = _places(state.page_table, position)
        self._causal = position.shape[1] > 1
        heads = state.kv[0].shape[1] // ROWS
        tables: list[list[int]] = state.page_table.tolist()
        last: list[int] = position[:, -1].tolist()
        self._cached = [position_pieces(table, one + 1) for table, one in zip(tables, last, strict=True)]
        texts: list[list[int]] = state.text_table[:, : view.text_rows].flatten(0, 1).tolist()
        tokens: list[int] = state.text_tokens[:, : view.text_rows].flatten().tolist()
        self._texts = [text_pieces(table, count, heads) for table, count in zip(texts, tokens, strict=True)]

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        pages, (rows, count, _, heads, size) = self._pages[layer], qkv.shape
        _write(pages, self._places, qkv)
        query = qkv[:, :, 0].transpose(1, 2).reshape(-1, 1, ROWS * heads, count, size)
        pages = pages.unsqueeze(1)  # [2, 1, rows * heads, N * PAGE, head size]
        out: list[torch.Tensor] = []
        for one, pieces in zip(query.unbind(0), self._cached, strict=True):
            keys, values = _read(pages, pieces)
            out.append(functional.scaled_dot_product_attention(one, keys, values, is_causal=self._causal))
        return _concatenate(out).view(rows, heads, count, size).transpose(1, 2)

    def attend_to_text(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        pages = self._pages[layer].unsqueeze(1)
        query = query.transpose(1, 2).unsqueeze(1)  # [n * text rows, 1, heads, T, head size]
        out: list[torch.Tensor] = []
        for one, pieces in zip(query.unbind(0), self._texts, strict=True):
            if not pieces:
                out.append(torch.zeros_like(one))
                continue
            keys, values = _read(pages, pieces)
            out.append(functional.scaled_dot_product_attention(one, keys, values))
        return _concatenate(out).transpose(1, 2)


def position_pieces(table: Sequence[int], count: int) -> list[Piece]:
    """Return where the first `count` positions of a clip with this page table are, in order."""
    pieces, left = list[Piece](), count
    for run in adjacent_runs(table[: -(-count // PAGE)]):
        here = min(left, len(run) * PAGE)
        pieces.append((ALL_ROWS, slice(run.start * PAGE, run.start * PAGE + here)))
        left -= here
    return pieces


def text_pieces(table: Sequence[int], count: int, heads: int) -> list[Piece]:
    """Return where the `count` tokens of a text are: 64 in the first row of a page, 64 in its second, and so on."""
    pieces: list[Piece] = []
    for first in range(0, count, PAGE):
        page, row = table[first // (ROWS * PAGE)], first // PAGE % ROWS
        start = page * PAGE
        pieces.append((slice(row * heads, (row + 1) * heads), slice(start, start + min(PAGE, count - first))))
    return pieces


def write_text(pages: torch.Tensor, table: Sequence[int], kv: torch.Tensor) -> None:
    """Write a text's keys and values [2, heads, tokens, head size] to a layer's pages; `table` are the clip's."""
    first = 0
    for rows, places in text_pieces(table, kv.shape[2], kv.shape[1]):
        count = places.stop - places.start
        pages[:, rows, places] = kv[:, :, first : first + count]
        first += count


def _read(pages: torch.Tensor, pieces: list[Piece]) -> tuple[torch.Tensor, ...]:
    """Return keys and values, [1, rows * heads, positions, head size] each; a view if they are in one piece."""
    parts = [_part(pages, piece) for piece in pieces]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)).unbind(0)


def _part(pages: torch.Tensor, piece: Piece) -> torch.Tensor:
    rows, places = piece
    part = pages.narrow(3, places.start, places.stop - places.start)  # a third of an index's overhead
    return part if rows is ALL_ROWS else part.narrow(2, rows.start, rows.stop - rows.start)


def _concatenate(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class GatheredAttention:
    """One call for all slots, over copies of their pages up to the view's bounds; reads nothing on the host.

    For GPUs without kernels and as the kernels' oracle, also within a CUDA graph. What is gathered beyond a clip's own
    positions is zeroed, because masked NaN would still be NaN.
    """

    def __init__(self, view: BatchView, position: torch.Tensor) -> None:
        state, device = view.state, position.device
        self.text_rows = view.text_rows
        self._pages = state.kv
        self._places = _places(state.page_table, position)
        along = arange(view.length, device)
        self._cached = _places(state.page_table, along[None].expand(position.shape[0], -1))  # [n * length]
        self._seen = (along <= position[:, :, None])[:, None]  # [n, 1, T, length]
        self._stale = (along > position[:, -1:])[:, None, :, None]  # [n, 1, length, 1]
        tokens = arange(view.text_length, device)
        table = state.text_table[:, : view.text_rows].flatten(0, 1)  # [n * text rows, pages]
        count = state.text_tokens[:, : view.text_rows].reshape(-1, 1)  # [n * text rows, 1]
        page = table[:, tokens // (ROWS * PAGE)].long()  # [n * text rows, text length]
        self._text = (tokens // PAGE % ROWS, page * PAGE + tokens % PAGE)  # rows [text length], places
        self._no_text = tokens >= count  # [n * text rows, text length]
        self._text_seen = ~self._no_text | (count == 0)  # a row without a text sees zeros: if it saw none, NaN

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        pages, (rows, count, _, heads, size) = self._pages[layer], qkv.shape
        _write(pages, self._places, qkv)
        n = rows // ROWS
        query = qkv[:, :, 0].transpose(1, 2).reshape(n, ROWS * heads, count, size)
        gathered = pages[:, :, self._cached].view(2, ROWS * heads, n, -1, size).transpose(1, 2)
        keys, values = gathered.masked_fill(self._stale, 0)  # [n, rows * heads, length, head size]
        out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=self._seen)
        return out.view(rows, heads, count, size).transpose(1, 2)

    def attend_to_text(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        pages, heads = self._pages[layer], query.shape[2]
        rows, places = self._text
        by_row = pages.view(2, ROWS, heads, -1, pages.shape[-1])
        gathered = by_row[:, rows, :, places].permute(2, 0, 3, 1, 4)  # [2, n * text rows, heads, length, size]
        seen = self._text_seen[:, None, None]  # [n * text rows, 1, 1, text length]
        keys, values = gathered.masked_fill(self._no_text[:, None, :, None], 0)
        out = functional.scaled_dot_product_attention(query.transpose(1, 2), keys, values, attn_mask=seen)
        return out.transpose(1, 2)


def _places(table: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Return where positions [n, T] of slots with these page tables [n, pages] are in a layer's pages, as [nT]."""
    return (table.gather(1, position // PAGE).long() * PAGE + position % PAGE).flatten()


def _write(pages: torch.Tensor, places: torch.Tensor, qkv: torch.Tensor) -> None:
    """Write the keys and values of qkv [2n, T, 3, heads, head size] to a layer's pages at places [nT]."""
    rows, count, _, heads, size = qkv.shape
    kv = qkv[:, :, 1:].view(rows // ROWS, ROWS, count, 2, heads, size).permute(3, 1, 4, 0, 2, 5)
    pages.index_copy_(2, places, kv.reshape(2, ROWS * heads, -1, size))
