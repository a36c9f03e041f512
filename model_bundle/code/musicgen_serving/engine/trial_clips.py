"""Clips that self-verification steps: in a runner's slots, at any position with filled caches, and gone afterwards.

Only the first clip's prompt is prefilled; the others get a copy of its keys and values, but texts, sampling parameters
and positions of their own. A step's result depends on these, so any two slots differ.
"""

from types import TracebackType
from typing import Self

import torch

from musicgen_serving.engine.model.memory import PAGE, position_pages, prefix_positions
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.delay_pattern import TO_GENERATE
from musicgen_serving.engine.step.model_runner import ModelRunner

HISTORIES = (1000, 300, 56)  # positions that the first clip, the second and all others have cached
MARGIN = 4  # positions that can be fed after them
EMPTY_SLOT = 3  # so that a step over four slots or more has one that it must skip
PARAMS = (
    SamplingParams(do_sample=False, guidance_scale=3),
    SamplingParams(do_sample=False, guidance_scale=1),
    SamplingParams(do_sample=True, guidance_scale=3, temperature=0.8, top_k=50, top_p=0.9),
)


class TrialClips:
    """A context in which a runner's slots hold trial clips, as many as its free pages allow.

    With `negative`, every clip but the second has a negative prompt. No slot may be in use. At exit every slot is as it
    was and every page is free; pages keep what was written, which no later clip reads.
    """

    def __init__(self, runner: ModelRunner, texts: list[torch.Tensor], *, negative: bool = False) -> None:
        self._runner = runner
        # A melody model's texts are in the positions; its pages are counted below.
        self._texts = texts if runner.config.melody else [text[: runner.text_length] for text in texts]
        self._negative = negative
        self._before = {name: tensor.clone() for name, tensor in runner.slots.per_slot().items()}
        self._histories: list[int] = [0] * runner.slots.position.shape[0]
        self._tokens = runner.slots.tokens
        self.longest = 0

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return sum(history > 0 for history in self._histories)

    @torch.inference_mode()
    def __enter__(self) -> Self:
        config = self._runner.config
        prefix = prefix_positions(config, max(text.shape[0] for text in self._texts)) if self._texts else 0
        limit = self._runner.positions - prefix - max(config.delays) - MARGIN
        histories = [min(history, limit) for history in HISTORIES]
        self.longest = histories[0]
        try:
            for slot in range(len(self._histories)):
                history, text = histories[min(slot, 2)], self._texts[slot % len(self._texts)]
                negative = self._texts[(slot + 1) % len(self._texts)] if self._negative and slot != 1 else None
                frames, tokens = history + MARGIN, (len(text), 0 if negative is None else len(negative))
                if slot == EMPTY_SLOT or self._runner.count_pages(frames, *tokens) > self._runner.allocator.free:
                    continue
                prompt = self._prompt(history) if slot == 0 else None
                params = PARAMS[slot % len(PARAMS)]
                self._runner.admit(slot, text, frames, params, seed=slot, prompt=prompt, negative=negative)
                self._histories[slot] = history
            self._copy_history()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._remove()

    def _remove(self) -> None:
        for slot in range(len(self._histories)):
            self._runner.release(slot)
        for name, tensor in self._runner.slots.per_slot().items():
            tensor.copy_(self._before[name])

    def _prompt(self, frames: int) -> torch.Tensor:
        """Return random codes [K, frames]."""
        config = self._runner.config
        generator = torch.Generator().manual_seed(0)
        return torch.randint(config.vocabulary, (config.codebooks, frames), generator=generator).to(self._runner.device)

    def _copy_history(self) -> None:
        """Give every clip the first one's tokens, keys and values, up to its own length."""
        slots, along = self._runner.slots, torch.arange(PAGE, device=self._runner.device)
        source: list[torch.Tensor] = []
        target: list[torch.Tensor] = []
        for slot, history in enumerate(self._histories):
            if slot and history:
                pages = position_pages(history)
                for places, row in ((source, 0), (target, slot)):
                    places.append((slots.page_table[row, :pages, None].long() * PAGE + along).flatten())
                slots.tokens[slot] = slots.tokens[0]
        if source:
            whole, copies = torch.cat(source), torch.cat(target)
            for kv in slots.kv:
                kv.index_copy_(2, copies, kv.index_select(2, whole))
        self._tokens = slots.tokens.clone()

    @torch.inference_mode()
    def place(self, position: int) -> None:
        """Put the first clip at a position, and the others at positions of their own, with nothing generated yet.

        Keys and values that were written at later positions stay: they are never read before they are written again.
        """
        slots = self._runner.slots
        own = [0] * len(self._histories)
        for slot, history in enumerate(self._histories):
            own[slot] = min(position, history) if slot < 2 else (position + 7 * slot) % (history + 1)
        slots.position.copy_(torch.tensor(own))
        after = torch.arange(slots.tokens.shape[2], device=slots.tokens.device) > slots.position[:, None, None]
        slots.tokens.copy_(torch.where(after, TO_GENERATE, self._tokens))
        slots.nonfinite.fill_(False)
