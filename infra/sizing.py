"""What a model needs: bytes to stage, GPU memory to run, seconds to come up."""

from infra.errors import ConfigError
from infra.instances import gpu_memory_bytes
from infra.models import Model

DTYPE_BYTES = {"float16": 2, "float32": 4}
MAX_POSITIONS = 1503  # the most tokens of one clip: 30 s at 50 a second and three lost to the delay pattern
GUIDANCE_ROWS = 2  # classifier-free guidance decodes a conditional and an unconditional row
RESERVE_BYTES = 2_000_000_000  # CUDA context, activations, cross-attention keys, EnCodec's decode, fragmentation

# Deliberately slow, so that a time-out means broken and not unlucky: S3 to an instance and EBS or NVMe to a GPU are
# several times faster. The base covers starting the container, Java and Python.
DOWNLOAD_BYTES_PER_SECOND = 25_000_000
LOAD_BYTES_PER_SECOND = 50_000_000
BASE_SECONDS = 300
TIMEOUT_BOUNDS = (60, 3600)  # what SageMaker accepts for both time-outs


def staged_bytes(model: Model, decoder_dtype: str) -> int:
    """Size of the staged weights: the decoder in `decoder_dtype`, all else in float32."""
    decoder = (model.decoder_parameters + model.decoder_buffers) * DTYPE_BYTES[decoder_dtype]
    return decoder + (model.other_parameters + model.other_buffers) * DTYPE_BYTES["float32"]


def key_value_bytes(model: Model, decoder_dtype: str) -> int:
    """Self-attention keys and values of one request at full length: 2 x layers x width x rows x positions."""
    numbers = 2 * model.layers * model.hidden_size * GUIDANCE_ROWS * MAX_POSITIONS
    return numbers * DTYPE_BYTES[decoder_dtype]


def check_gpu_memory(model: Model, *, decoder_dtype: str, requests: int, instance_type: str) -> None:
    """ConfigError, with the numbers, when weights and `requests` caches exceed the instance's GPU memory."""
    weights = staged_bytes(model, decoder_dtype)
    caches = requests * key_value_bytes(model, decoder_dtype)
    needed, available = weights + caches + RESERVE_BYTES, gpu_memory_bytes(instance_type)
    if needed > available:
        raise ConfigError(
            f"{model.model_id} in {decoder_dtype} with max_concurrent_requests {requests} must fit the GPU memory of "
            f"{instance_type}, {_gb(available)}, got {_gb(needed)}: {_gb(weights)} of weights, {_gb(caches)} of "
            f"key-value caches, {_gb(RESERVE_BYTES)} in reserve"
        )


def download_timeout_seconds(staged: int) -> int:
    """ModelDataDownloadTimeoutInSeconds: 300 s and `staged` bytes at 25 MB/s, within SageMaker's bounds."""
    return _bounded(BASE_SECONDS + staged / DOWNLOAD_BYTES_PER_SECOND)


def health_check_timeout_seconds(staged: int) -> int:
    """ContainerStartupHealthCheckTimeoutInSeconds: 300 s and `staged` bytes at 50 MB/s, within SageMaker's bounds."""
    return _bounded(BASE_SECONDS + staged / LOAD_BYTES_PER_SECOND)


def _bounded(seconds: float) -> int:
    low, high = TIMEOUT_BOUNDS
    return round(min(max(seconds, low), high))


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
