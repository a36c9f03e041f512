"""What an instance holds of a model, and how fast it is expected to be: memory exactly, speed as an estimate.

The engine's own formula of memory is `model_bundle/…/engine/model/memory.py`;
tests/model_bundle/engine/model/test_memory.py holds the two equal for every model, kind of weights and instance type.
docs/capacity.md explains both, with a table.
"""

from dataclasses import dataclass

from infra.config.instances import bytes_per_second, has_gpu, memory_bytes, usd_per_hour
from infra.config.models import ELEMENT_BYTES, TEXT_TOKENS, ElementBytes, Model
from infra.config.setting_rules import ConfigError

MAX_SLOTS = 32  # clips that the engine steps together
MAX_CLIP_SECONDS = 30

_GPU_RESERVE_BYTES = 2 * 1024**3 + 450_000_000  # the engine's reserve (activations, T5, EnCodec) and CUDA's context
_CPU_RESERVE_BYTES = 4_000_000_000  # Java and Python, activations, EnCodec's decode, files in the page cache
_INVOCATION_TIMEOUT_SECONDS = 900  # SageMaker's default; a client may ask for up to 3600
_EXPECTED_SECONDS = _INVOCATION_TIMEOUT_SECONDS / 2  # that a derived number aims at, as speed is an estimate


@dataclass(frozen=True, kw_only=True)
class InstanceCapacity:
    """A model in one kind of weights on one instance of a type. Clips have a text of up to 128 tokens."""

    model: Model
    instance_type: str
    decoder_dtype: str = "float16"
    weight_quantisation: str = "none"

    @property
    def weights(self) -> str:
        """float16, float32 or int8."""
        return self.decoder_dtype if self.weight_quantisation == "none" else self.weight_quantisation

    @property
    def element(self) -> ElementBytes:
        """The bytes of an element of the decoder."""
        return ELEMENT_BYTES["cuda" if has_gpu(self.instance_type) else "cpu", self.weights]

    @property
    def weight_bytes(self) -> int:
        """The size of all loaded weights."""
        return self.model.decoder_bytes(self.element) + self.model.other_bytes

    def clips_in_memory(self, seconds: float = MAX_CLIP_SECONDS, *, text_tokens: int = TEXT_TOKENS) -> int:
        """Return how many clips of `seconds` memory holds at once, in whole pages; more of them wait for pages."""
        pages = max(0, self._pages_bytes() // self._page_bytes - 1)  # one is the null page
        return pages // self.model.clip_pages(_steps(seconds), text_tokens)

    def concurrent_clips(self, seconds: float = MAX_CLIP_SECONDS, *, text_tokens: int = TEXT_TOKENS) -> int:
        """Return how many clips of `seconds` the engine generates at once: as many as memory and slots hold."""
        return min(MAX_SLOTS, self.clips_in_memory(seconds, text_tokens=text_tokens))

    def derived_requests(self, seconds: float = MAX_CLIP_SECONDS) -> int:
        """Return `max_concurrent_requests` for requests of one clip of `seconds`: at least 1, for `check` to judge.

        On a CPU it also keeps the expected time within half of the invocation timeout.
        """
        fitting = self.concurrent_clips(seconds)
        while fitting > 1 and not has_gpu(self.instance_type) and self._seconds(fitting, seconds) > _EXPECTED_SECONDS:
            fitting -= 1
        return max(1, fitting)

    def clip_seconds(self, *, clips: int = 1, seconds: float = MAX_CLIP_SECONDS) -> float:
        """Estimate how long each of `clips` clips of `seconds` takes if all are requested at once.

        Decoding is bound by memory: each step reads the weights once, and the keys and values of each clip so far. The
        bandwidth is the nominal one times an assumed share, and the text encoder, EnCodec and the upload are left out,
        so this is an estimate, not a measurement. Clips that do not fit wait for others.
        """
        together = min(clips, max(1, self.concurrent_clips(seconds)))
        return self._seconds(together, seconds) * clips / together

    def clips_per_second(self, clips: int, seconds: float = MAX_CLIP_SECONDS) -> float:
        """Estimate the throughput of an instance that always has `clips` clips of `seconds` in flight or waiting."""
        return clips / self.clip_seconds(clips=clips, seconds=seconds)

    def usd_per_clip(self, clips: int, seconds: float = MAX_CLIP_SECONDS, *, region: str) -> float | None:
        """Estimate the price of a clip on an instance as busy; None in a region other than the price table's."""
        price = usd_per_hour(self.instance_type, region=region)
        return None if price is None else price / 3600 / self.clips_per_second(clips, seconds)

    def check(self, requests: int, seconds: float = MAX_CLIP_SECONDS) -> None:
        """Raise ConfigError if `requests` clips of `seconds` exceed the memory or, on a CPU, the timeout.

        The message has the figures and what is allowed.
        """
        if requests > self.clips_in_memory(seconds):
            needed = self._memory(requests, seconds)
            raise ConfigError(self._refusal(requests, seconds, self.clips_in_memory(seconds), needed))
        expected = self.clip_seconds(clips=requests, seconds=seconds)
        if not has_gpu(self.instance_type) and expected > _INVOCATION_TIMEOUT_SECONDS:
            limit = _INVOCATION_TIMEOUT_SECONDS
            within = [n for n in range(1, requests) if self.clip_seconds(clips=n, seconds=seconds) <= limit]
            why = (
                f"they are expected to take {expected:.0f} s, and SageMaker's default invocation timeout is "
                f"{limit} s (an estimate from {_gb(self.model.step_bytes(self.element))} of "
                f"weights a step and {bytes_per_second(self.instance_type) / 1e9:.1f} GB/s)"
            )
            raise ConfigError(self._refusal(requests, seconds, len(within), why))

    def _refusal(self, requests: int, seconds: float, allowed: int, why: str) -> str:
        served = f"{self.model.model_id} in {self.weights} on {self.instance_type}"
        if allowed == 0:
            return f"{served} must hold one clip of {seconds:g} s: {why}; choose a larger instance or a smaller model"
        return (
            f"max_concurrent_requests must be at most {allowed}, or auto, for clips of {seconds:g} s with {served}, "
            f"got {requests}: {why}; set clip_seconds if clips are shorter"
        )

    def _memory(self, requests: int, seconds: float) -> str:
        pages = (requests * self.model.clip_pages(_steps(seconds)) + 1) * self._page_bytes
        pages += MAX_SLOTS * self.model.slot_bytes
        if has_gpu(self.instance_type):
            kind, cache, needed = "GPU memory", f"{_gb(pages)} of KV pages", pages
        else:
            kind, cache, needed = "memory", f"twice {_gb(pages)} of KV pages, which get half of what is free", 2 * pages
        needed += self.weight_bytes + self._reserve_bytes
        return (
            f"{_gb(needed)} are needed ({_gb(self.weight_bytes)} of weights, {cache}, {_gb(self._reserve_bytes)} in "
            f"reserve) of {_gb(memory_bytes(self.instance_type))} of {kind}"
        )

    @property
    def _page_bytes(self) -> int:
        return self.model.page_bytes(self.element.rest)

    @property
    def _reserve_bytes(self) -> int:
        return _GPU_RESERVE_BYTES if has_gpu(self.instance_type) else _CPU_RESERVE_BYTES

    def _pages_bytes(self) -> int:
        """Return what is left for pages: all free memory of a GPU, half of a host's."""
        free = memory_bytes(self.instance_type) - self.weight_bytes - self._reserve_bytes
        return (free if has_gpu(self.instance_type) else free // 2) - MAX_SLOTS * self.model.slot_bytes

    def _seconds(self, clips: int, seconds: float) -> float:
        steps = _steps(seconds)
        positions = self.model.prefix_positions() + (steps + 1) / 2  # mean over the clip's steps
        cache = self.model.position_bytes(self.element.rest) * positions
        read = self.model.step_bytes(self.element) + clips * cache
        return steps * read / bytes_per_second(self.instance_type)


def _steps(seconds: float) -> int:
    return round(seconds * 50) + 3


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
