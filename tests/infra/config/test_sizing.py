"""Staged bytes, GPU memory and timeouts, checked against the published models."""

from typing import Any

import pytest

from infra.config import ConfigError, from_context
from infra.config.models import Model, find_model
from infra.constructs.async_endpoint import download_timeout_seconds, health_check_timeout_seconds

SMALL, MEDIUM, LARGE = (find_model(f"facebook/musicgen-{size}") for size in ("small", "medium", "large"))


@pytest.mark.parametrize(("model", "published_gb"), [(SMALL, 2.36), (LARGE, 13.72)])
def test_float32_weights_match_the_published_files(model: Model, published_gb: float) -> None:
    assert model.staged_bytes("float32") / 1e9 == pytest.approx(published_gb, abs=0.005)


def test_float16_decoder_halves_the_staged_bytes_of_large() -> None:
    assert LARGE.staged_bytes("float16") / 1e9 == pytest.approx(7.2, abs=0.02)


@pytest.mark.parametrize(("model", "gigabytes"), [(SMALL, 0.315), (MEDIUM, 0.944), (LARGE, 1.258)])
def test_longest_clip_holds_24_pages_of_64_positions_and_one_of_its_text(model: Model, gigabytes: float) -> None:
    assert model.clip_bytes("float16") / 1e9 == pytest.approx(gigabytes, abs=0.0005)
    assert model.clip_bytes("float16") == 25 * 64 * model.position_bytes("float16")
    assert model.clip_bytes("float32") == 2 * model.clip_bytes("float16")


@pytest.mark.parametrize(("seconds", "clips"), [(5, 32), (10, 32), (20, 17), (30, 11)])
def test_concurrent_clips_of_large_on_24_gb_depend_on_their_length(seconds: int, clips: int) -> None:
    positions = 50 * seconds + 3
    assert LARGE.concurrent_clips("float16", instance_type="ml.g5.xlarge", positions=positions) == clips


def test_model_that_exceeds_the_gpu_memory_is_rejected_with_the_figures(cdk_context: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, "decoder_dtype": "float32"})
    assert str(error.value) == (
        "facebook/musicgen-large in float32 with max_concurrent_requests 4 must fit the GPU memory of ml.g5.2xlarge, "
        "24.0 GB, got 25.9 GB: 13.7 GB of weights, 10.2 GB of key-value caches, 2.0 GB in reserve"
    )


def test_concurrent_requests_are_limited_by_the_gpu_memory(cdk_context: dict[str, Any]) -> None:
    assert from_context({**cdk_context, "max_concurrent_requests": 11}).max_concurrent_requests == 11
    with pytest.raises(ConfigError, match=r"max_concurrent_requests 12 must fit the GPU memory of ml\.g5\.2xlarge"):
        from_context({**cdk_context, "max_concurrent_requests": 12})


def test_every_fallback_instance_type_must_fit_too(cdk_context: dict[str, Any]) -> None:
    given = {"instance_type": "ml.g6e.xlarge", "max_concurrent_requests": 20}
    assert from_context({**cdk_context, **given}).max_concurrent_requests == 20
    with pytest.raises(ConfigError, match=r"GPU memory of ml\.g5\.xlarge, 24\.0 GB"):
        from_context({**cdk_context, **given, "fallback_instance_types": "ml.g5.xlarge"})


@pytest.mark.parametrize("model", [SMALL, MEDIUM, LARGE])
def test_decode_step_reads_all_weights_but_embeddings_and_the_texts_keys_and_values(model: Model) -> None:
    embeddings = 4 * 2049 * model.hidden_size
    text = model.layers * 2 * model.hidden_size**2
    assert model.step_bytes() / 4 == pytest.approx(model.decoder_parameters - embeddings - text, rel=0.001)


def test_clip_on_a_cpu_is_estimated_from_the_bytes_that_steps_read() -> None:
    """Small: 1.44 GB of weights a step and 0.15 GB of cache on average, at half of 51.2 GB/s, 1503 times."""
    assert SMALL.cpu_clip_seconds("ml.c7i.4xlarge") == pytest.approx(1503 * (1.443 + 0.296) / 25.6, rel=0.01)
    assert SMALL.cpu_clip_seconds("ml.c7i.8xlarge") == pytest.approx(SMALL.cpu_clip_seconds("ml.m7i.4xlarge") / 2)
    assert SMALL.cpu_clip_seconds("ml.c6i.4xlarge", seconds=5) < SMALL.cpu_clip_seconds("ml.c6i.4xlarge") / 6


@pytest.mark.parametrize("instance_type", ["ml.c7i.4xlarge", "ml.m7i.4xlarge", "ml.c6i.4xlarge"])
def test_small_and_medium_run_on_every_cpu_family(cdk_context: dict[str, Any], instance_type: str) -> None:
    for size, seconds in (("small", 102), ("medium", 427)):
        given = {"model_id": f"facebook/musicgen-{size}", "instance_type": instance_type}
        config = from_context({**cdk_context, **given})
        assert (config.device, config.clip_seconds_estimate) == ("cpu", pytest.approx(seconds, abs=1))
    assert from_context(cdk_context).clip_seconds_estimate is None


def test_model_that_exceeds_a_cpus_memory_is_rejected_with_the_figures(cdk_context: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, "instance_type": "ml.c7i.4xlarge"})
    assert str(error.value) == (
        "facebook/musicgen-large with max_concurrent_requests 4 must fit the memory of ml.c7i.4xlarge, 34.4 GB, got "
        "38.1 GB: 13.7 GB of weights, which a CPU keeps in float32, twice 10.2 GB of key-value caches, as they may "
        "take half of what is free, 4.0 GB in reserve"
    )


def test_model_that_is_too_slow_on_a_cpu_is_rejected_with_the_estimate(cdk_context: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, "instance_type": "ml.m7i.4xlarge"})
    assert str(error.value) == (
        "facebook/musicgen-large with max_concurrent_requests 4 must generate clips of 30 s within 900 s, SageMaker's "
        "default invocation timeout, on ml.m7i.4xlarge, got about 944 s (an estimate from 11.3 GB of weights a step "
        "and 25.6 GB/s): choose a smaller model, a larger instance, a GPU or fewer concurrent requests"
    )


@pytest.mark.parametrize(
    ("staged", "download", "health_check"),
    [(0, 300, 900), (7_200_000_000, 588, 900), (40 * 10**9, 1900, 1100), (10**12, 3600, 3600)],
)
def test_timeouts_grow_with_the_staged_bytes_up_to_sagemakers_limit(
    staged: int, download: int, health_check: int
) -> None:
    assert download_timeout_seconds(staged) == download
    assert health_check_timeout_seconds(staged) == health_check


@pytest.mark.parametrize(("max_capacity", "retained", "quota"), [(1, "no", 2), (4, "no", 5), (4, "yes", 8)])
def test_quota_covers_a_blue_green_update_at_full_capacity(
    cdk_context: dict[str, Any], max_capacity: int, retained: str, quota: int
) -> None:
    """The old fleet runs until the new one is in service, which starts on one instance or on as many."""
    given = {"max_capacity": max_capacity, "retain_variant_properties": retained}
    assert from_context({**cdk_context, **given}).required_quota == quota
