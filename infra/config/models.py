"""The MusicGen models that the stack can serve: their default commit, their size, and whether they fit a GPU."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.config.fields import ConfigError, did_you_mean
from infra.config.instances import gpu_memory_bytes

_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8"))

SERVED_MODELS: list[str] = list(_TABLE["models"])  # the Hub ids that `model_id` may name

_DTYPE_BYTES = {"float16": 2, "float32": 4}
_MAX_POSITIONS = 1503  # tokens of the longest clip: 30 s at 50 a second, and three for the delay pattern
_GUIDANCE_ROWS = 2  # classifier-free guidance decodes a conditional and an unconditional row
_RESERVE_BYTES = 2_000_000_000  # CUDA context, activations, cross-attention keys, EnCodec's decode, fragmentation


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

    def kv_cache_bytes(self, decoder_dtype: str) -> int:
        """Return the self-attention cache of one full-length request: 2 x layers x width x rows x positions."""
        elements = 2 * self.layers * self.hidden_size * _GUIDANCE_ROWS * _MAX_POSITIONS
        return elements * _DTYPE_BYTES[decoder_dtype]

    def check_gpu_memory(self, *, decoder_dtype: str, requests: int, instance_type: str) -> None:
        """Raise ConfigError, with the figures, if weights and `requests` caches exceed the instance's GPU memory."""
        weights = self.staged_bytes(decoder_dtype)
        caches = requests * self.kv_cache_bytes(decoder_dtype)
        needed, available = weights + caches + _RESERVE_BYTES, gpu_memory_bytes(instance_type)
        if needed > available:
            raise ConfigError(
                f"{self.model_id} in {decoder_dtype} with max_concurrent_requests {requests} must fit the GPU memory "
                f"of {instance_type}, {_gb(available)}, got {_gb(needed)}: {_gb(weights)} of weights, {_gb(caches)} of "
                f"key-value caches, {_gb(_RESERVE_BYTES)} in reserve"
            )


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
