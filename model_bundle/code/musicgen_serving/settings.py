"""What the container's environment says, checked once at start (docs/contracts.md, "Container environment")."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
CONTAINER_LOG = Path("/proc/1/fd/1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The environment's values in their types; `log_file` of None means standard error."""

    output_bucket: str
    external_buckets: tuple[str, ...] = ()
    decoder_dtype: str = "float16"
    weight_quantisation: str = "none"
    max_concurrent_requests: int = 4
    max_payload_bytes: int = 100 * MIB
    bind_host: str = "0.0.0.0"
    port: int = 8080
    log_file: Path | None = None

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket that a request may name, the default first."""
        return (self.output_bucket, *self.external_buckets)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables of docs/contracts.md; ValueError says which is wrong."""
        return cls(
            output_bucket=_required(environment, "MUSICGEN_OUTPUT_BUCKET"),
            external_buckets=_names(environment.get("MUSICGEN_EXTERNAL_BUCKETS", "")),
            decoder_dtype=_choice(environment, "MUSICGEN_DECODER_DTYPE", ("float16", "float32")),
            weight_quantisation=_choice(environment, "MUSICGEN_WEIGHT_QUANTISATION", ("none", "int8")),
            max_concurrent_requests=_integer(environment, "MUSICGEN_MAX_CONCURRENT_REQUESTS", 4, 1, 1000),
            max_payload_bytes=_integer(environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 100, 1, 1024) * MIB,
            bind_host=environment.get("MUSICGEN_BIND_HOST", "0.0.0.0"),
            port=_integer(environment, "SAGEMAKER_BIND_TO_PORT", 8080, 1, 65535),
            log_file=_log_file(environment),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise ValueError(f"{name} must be set in the container's environment, got {environment.get(name)!r}")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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


def _log_file(environment: Mapping[str, str]) -> Path | None:
    """Where JSON lines go: process 1's output is the container's log, and on anything but a container a stranger's."""
    if named := environment.get("MUSICGEN_LOG_FILE"):
        return Path(named)
    return None if "SAGEMAKER_BASE_DIR" in environment else CONTAINER_LOG
