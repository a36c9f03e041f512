"""The MusicGen models that the stack can serve: their default commit, their size, and whether they fit an instance."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.config.instances import bytes_per_second, gpu_memory_bytes, has_gpu, memory_bytes
from infra.config.setting_rules import ConfigError, did_you_mean

_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8"))

SERVED_MODELS: list[str] = list(_TABLE["models"])  # the Hub ids that `model_id` may name

_DTYPE_BYTES = {"float16": 2, "float32": 4}
_MAX_POSITIONS = 1503  # tokens of the longest clip: 30 s at 50 a second, and three for the delay pattern
_GUIDANCE_ROWS = 2  # classifier-free guidance decodes a conditional and an unconditional row
_PAGE_POSITIONS = 64  # of the engine's KV cache; a page holds as many positions of both rows, or twice as many tokens
_TEXT_PAGE_TOKENS = _GUIDANCE_ROWS * _PAGE_POSITIONS  # a text is cached for the conditional row only
_MAX_SLOTS = 32  # clips that the engine steps together on a GPU
_CODEBOOKS, _CODES = 4, 2048  # of every mono model: the widths of the output heads
_CPU_RESERVE_BYTES = 4_000_000_000  # Java and Python, activations, EnCodec's decode, files in the page cache
_INVOCATION_TIMEOUT_SECONDS = 900  # SageMaker's default; a client may ask for up to 3600
_RESERVE_BYTES = 2_000_000_000  # CUDA context, activations, EnCodec's decode, fragmentation


@dataclass(frozen=True, kw_only=True)
class Model:
    """One published checkpoint. Counts are elements, not bytes; every model was published in float32."""

    model_id: str
    revision: str | None  # commit served by default; None if the configuration must name one
    layers: int
    hidden_size: int
    decoder_parameters: int
    decoder_buffers: int
    other_parameters: int  # text encoder, projection and EnCodec: always float32
    other_buffers: int

    def staged_bytes(self, decoder_dtype: str) -> int:
        """Return the size of the staged weights: the decoder in `decoder_dtype`, the rest in float32."""
        decoder = (self.decoder_parameters + self.decoder_buffers) * _DTYPE_BYTES[decoder_dtype]
        return decoder + (self.other_parameters + self.other_buffers) * _DTYPE_BYTES["float32"]

    def position_bytes(self, decoder_dtype: str) -> int:
        """Return the self-attention's keys and values of one position of a clip: 2 x layers x width x rows."""
        return 2 * self.layers * self.hidden_size * _GUIDANCE_ROWS * _DTYPE_BYTES[decoder_dtype]

    def page_bytes(self, decoder_dtype: str) -> int:
        """Return the size of a page of the engine's KV cache, as its `model/memory.py` does."""
        return _PAGE_POSITIONS * self.position_bytes(decoder_dtype)

    def clip_bytes(
        self, decoder_dtype: str, *, positions: int = _MAX_POSITIONS, text_tokens: int = _TEXT_PAGE_TOKENS
    ) -> int:
        """Return what a clip holds of the KV cache, in whole pages; by default 30 s with a text of up to 128 tokens."""
        return _clip_pages(positions, text_tokens) * self.page_bytes(decoder_dtype)

    def concurrent_clips(
        self, decoder_dtype: str, *, instance_type: str, positions: int = _MAX_POSITIONS,
        text_tokens: int = _TEXT_PAGE_TOKENS,
    ) -> int:  # fmt: skip
        """Return how many such clips the engine generates at once on an instance with a GPU; more of them wait."""
        free = gpu_memory_bytes(instance_type) - self.staged_bytes(decoder_dtype) - _RESERVE_BYTES
        pages = max(0, free // self.page_bytes(decoder_dtype) - 1)  # one is the null page
        return min(_MAX_SLOTS, pages // _clip_pages(positions, text_tokens))

    def step_bytes(self) -> int:
        """Return what a decode step reads of the weights in float32: the layers and the output heads.

        Not the embeddings, of which it reads a few rows, nor the keys and values of the text, computed once per clip.
        """
        matrices = 14 * self.hidden_size**2  # q, k, v, out, cross-attention's q and out; 4 + 4 of the feed-forward
        norms = 3 * 2 * self.hidden_size
        heads = _CODEBOOKS * _CODES * self.hidden_size
        return (self.layers * (matrices + norms) + 2 * self.hidden_size + heads) * _DTYPE_BYTES["float32"]

    def cpu_clip_seconds(self, instance_type: str, *, clips: int = 1, seconds: float = 30) -> float:
        """Estimate how long `clips` clips of `seconds` take, generated concurrently on an instance without a GPU.

        Decoding is bound by memory: each step reads the weights once, and the keys and values of each clip so far. The
        bandwidth is the nominal one times an assumed share, and the text encoder, EnCodec and the upload are left out,
        so this is an estimate, not a measurement.
        """
        steps = round(seconds * 50) + 3
        cache = self.position_bytes("float32") * (steps + 1) / 2  # mean over the clip's steps
        return steps * (self.step_bytes() + clips * cache) / bytes_per_second(instance_type)

    def check_instance(self, *, decoder_dtype: str, requests: int, instance_type: str) -> None:
        """Raise ConfigError, with the figures, if `requests` exceed the instance's memory or, on a CPU, the timeout."""
        if has_gpu(instance_type):
            self.check_gpu_memory(decoder_dtype=decoder_dtype, requests=requests, instance_type=instance_type)
        else:
            self._check_cpu(requests, instance_type)

    def _check_cpu(self, requests: int, instance_type: str) -> None:
        weights, caches = self.staged_bytes("float32"), self._cache_bytes("float32", requests)
        # The engine takes half of the memory that is free once the weights are loaded.
        needed, available = weights + 2 * caches + _CPU_RESERVE_BYTES, memory_bytes(instance_type)
        if needed > available:
            raise ConfigError(
                f"{self.model_id} with max_concurrent_requests {requests} must fit the memory of {instance_type}, "
                f"{_gb(available)}, got {_gb(needed)}: {_gb(weights)} of weights, which a CPU keeps in float32, twice "
                f"{_gb(caches)} of key-value caches, as they may take half of what is free, "
                f"{_gb(_CPU_RESERVE_BYTES)} in reserve"
            )
        seconds = self.cpu_clip_seconds(instance_type, clips=requests)
        if seconds > _INVOCATION_TIMEOUT_SECONDS:
            raise ConfigError(
                f"{self.model_id} with max_concurrent_requests {requests} must generate clips of 30 s within "
                f"{_INVOCATION_TIMEOUT_SECONDS} s, SageMaker's default invocation timeout, on {instance_type}, got "
                f"about {seconds:.0f} s (an estimate from {_gb(self.step_bytes())} of weights a step and "
                f"{bytes_per_second(instance_type) / 1e9:.1f} GB/s): choose a smaller model, a larger instance, a GPU "
                "or fewer concurrent requests"
            )

    def check_gpu_memory(self, *, decoder_dtype: str, requests: int, instance_type: str) -> None:
        """Raise ConfigError, with the figures, if weights and `requests` caches exceed the instance's GPU memory."""
        weights = self.staged_bytes(decoder_dtype)
        caches = self._cache_bytes(decoder_dtype, requests)
        needed, available = weights + caches + _RESERVE_BYTES, gpu_memory_bytes(instance_type)
        if needed > available:
            raise ConfigError(
                f"{self.model_id} in {decoder_dtype} with max_concurrent_requests {requests} must fit the GPU memory "
                f"of {instance_type}, {_gb(available)}, got {_gb(needed)}: {_gb(weights)} of weights, {_gb(caches)} of "
                f"key-value caches, {_gb(_RESERVE_BYTES)} in reserve"
            )

    def _cache_bytes(self, decoder_dtype: str, requests: int) -> int:
        """Return the KV cache for as many of the longest clips, and its null page."""
        return requests * self.clip_bytes(decoder_dtype) + self.page_bytes(decoder_dtype)


def _clip_pages(positions: int, text_tokens: int) -> int:
    return -(-positions // _PAGE_POSITIONS) - (-text_tokens // _TEXT_PAGE_TOKENS)


def find_model(model_id: str) -> Model:
    """Return the model with a Hub id such as `facebook/musicgen-large`. Raise ConfigError if it cannot be served."""
    allowed = f"model_id must be one of {', '.join(SERVED_MODELS)}, got {model_id}"
    if model_id in _TABLE["not_served"]:
        raise ConfigError(f"{allowed}: the bundle cannot serve melody/stereo models yet")
    if model_id not in _TABLE["models"]:
        raise ConfigError(f"{allowed}{did_you_mean(model_id, SERVED_MODELS)}")
    entry = {key: value for key, value in _TABLE["models"][model_id].items() if key != "revision_source"}
    return Model(model_id=model_id, **entry)


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
