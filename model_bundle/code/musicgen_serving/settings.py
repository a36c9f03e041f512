"""Settings from the container's environment, validated at start (docs/contracts.md, "Container environment")."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from musicgen_serving.engine.watchdog import HANG_SECONDS

CONTAINER_LOG = Path("/proc/1/fd/1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The container's settings; without `input_bucket`, requests cannot name audio in it.

    With `device` None, CUDA is used if there is one; with `endpoint` None, no metrics are published; with `log_file`
    None, the log goes to standard error.
    """

    output_bucket: str
    input_bucket: str | None = None
    external_buckets: tuple[str, ...] = ()
    device: str | None = None
    image: str | None = None
    endpoint: str | None = None
    decoder_dtype: str = "float16"
    weight_quantisation: str = "none"
    max_concurrent_requests: int = 4
    hang_seconds: int = int(HANG_SECONDS)
    bind_host: str = "0.0.0.0"
    port: int = 8080
    log_file: Path | None = None

    @property
    def buckets(self) -> tuple[str, ...]:
        """The buckets that a request may name, the default first."""
        return (self.output_bucket, *self.external_buckets)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read and validate the variables; ValueError names the one that is wrong."""
        output_bucket = environment.get("MUSICGEN_OUTPUT_BUCKET", "").strip()
        if not output_bucket:
            got = environment.get("MUSICGEN_OUTPUT_BUCKET")
            raise ValueError(f"MUSICGEN_OUTPUT_BUCKET must be set in the container's environment, got {got!r}")
        external_buckets = environment.get("MUSICGEN_EXTERNAL_BUCKETS", "").split(",")
        # Process 1's output is the container's log; where SAGEMAKER_BASE_DIR is set, this is no container.
        log_file = None if "SAGEMAKER_BASE_DIR" in environment else CONTAINER_LOG
        if path := environment.get("MUSICGEN_LOG_FILE"):
            log_file = Path(path)
        return cls(
            output_bucket=output_bucket,
            input_bucket=environment.get("MUSICGEN_INPUT_BUCKET", "").strip() or None,
            external_buckets=tuple(name.strip() for name in external_buckets if name.strip()),
            device=_choice(environment, "MUSICGEN_DEVICE", ("cuda", "cpu"))
            if "MUSICGEN_DEVICE" in environment
            else None,
            image=environment.get("MUSICGEN_IMAGE"),
            endpoint=environment.get("MUSICGEN_ENDPOINT"),
            decoder_dtype=_choice(environment, "MUSICGEN_DECODER_DTYPE", ("float16", "float32")),
            weight_quantisation=_choice(environment, "MUSICGEN_WEIGHT_QUANTISATION", ("none", "int8")),
            max_concurrent_requests=_integer(environment, "MUSICGEN_MAX_CONCURRENT_REQUESTS", 4, 1, 1000),
            hang_seconds=_integer(environment, "MUSICGEN_HANG_SECONDS", int(HANG_SECONDS), 10, 3600),
            bind_host=environment.get("MUSICGEN_BIND_HOST", "0.0.0.0"),
            port=_integer(environment, "SAGEMAKER_BIND_TO_PORT", 8080, 1, 65535),
            log_file=log_file,
        )


def _choice(environment: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = environment.get(name, allowed[0])
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def _integer(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {text!r}")
    return int(text)
