"""The MusicGen models that the stack can serve, and the refusal of those that it cannot."""

from dataclasses import dataclass

from infra.data import table
from infra.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Model:
    """One published checkpoint. Counts are of numbers, not bytes; all of them were published as float32."""

    model_id: str
    revision: str | None  # commit served by default; None where the configuration must name one
    layers: int
    hidden_size: int
    decoder_parameters: int
    decoder_buffers: int
    other_parameters: int  # text encoder, projection and EnCodec: float32 always
    other_buffers: int


def served_models() -> list[str]:
    """The Hub ids that `model_id` may name."""
    return list(table("models")["models"])


def find_model(model_id: str) -> Model:
    """The table's entry for a Hub id such as `facebook/musicgen-large`; ConfigError if it cannot be served."""
    models = table("models")
    if model_id in models["not_served"]:
        raise ConfigError(
            f"model_id must be one of {', '.join(models['models'])}, got {model_id}: "
            "the bundle cannot serve melody/stereo models yet"
        )
    if model_id not in models["models"]:
        known = models["models"]
        raise ConfigError(f"model_id must be one of {', '.join(known)}, got {model_id}{did_you_mean(model_id, known)}")
    entry = {key: value for key, value in models["models"][model_id].items() if key != "revision_source"}
    return Model(model_id=model_id, **entry)
