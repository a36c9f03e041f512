"""Staged bytes, GPU memory and timeouts, checked against the published models."""

from typing import Any

import pytest

from infra.config import ConfigError, from_context
from infra.config.capacity import InstanceCapacity
from infra.config.instances import INSTANCE_TYPES, SHARE_OF_BANDWIDTH
from infra.config.models import ELEMENT_BYTES, SERVED_MODELS, Model, find_model
from infra.constructs.async_endpoint import download_timeout_seconds, health_check_timeout_seconds

SIZES = ("small", "medium", "large")
SMALL, MEDIUM, LARGE = (find_model(f"facebook/musicgen-{size}") for size in SIZES)
STEREO = [find_model(f"facebook/musicgen-stereo-{size}") for size in SIZES]


def capacity(model: Model, instance_type: str, weights: str = "float16") -> InstanceCapacity:
    eight_bit = {"weight_quantisation": "int8"} if weights == "int8" else {"decoder_dtype": weights}
    return InstanceCapacity(model=model, instance_type=instance_type, **eight_bit)


@pytest.mark.parametrize(("model", "published_gb"), [(SMALL, 2.36), (LARGE, 13.72)])
def test_float32_weights_match_the_published_files(model: Model, published_gb: float) -> None:
    assert model.staged_bytes("float32") / 1e9 == pytest.approx(published_gb, abs=0.005)


def test_float16_decoder_halves_the_staged_bytes_of_large() -> None:
    assert LARGE.staged_bytes("float16") / 1e9 == pytest.approx(7.2, abs=0.02)


@pytest.mark.parametrize(("stereo", "published_gb"), list(zip(STEREO, (1.22, 4.07, 4.99 + 1.93), strict=True)))
def test_stereo_weights_are_staged_as_they_were_published_in_float16(stereo: Model, published_gb: float) -> None:
    assert stereo.staged_bytes("float16") / 1e9 == pytest.approx(published_gb, abs=0.01)
    assert stereo.staged_bytes("float32") == stereo.staged_bytes("float16"), "staging casts down only"
    assert stereo.other_bytes == 4 * (stereo.other_parameters + stereo.other_buffers), "loaded in float32"


@pytest.mark.parametrize(("mono", "stereo"), list(zip((SMALL, MEDIUM, LARGE), STEREO, strict=True)))
def test_stereo_model_has_four_more_tables_and_heads_and_the_same_keys_and_values(mono: Model, stereo: Model) -> None:
    more = 4 * (2049 + 2048) * mono.hidden_size
    assert stereo.decoder_parameters - mono.decoder_parameters == more
    assert stereo.other_parameters == mono.other_parameters
    assert stereo.page_bytes(2) == mono.page_bytes(2)
    for kind in ("float16", "float32", "int8"):
        element = ELEMENT_BYTES["cuda", kind]
        heads, tables = 4 * 2048 * mono.hidden_size * element.others, 4 * 2049 * mono.hidden_size * element.rest
        assert stereo.decoder_bytes(element) - mono.decoder_bytes(element) == heads + tables
        assert stereo.step_bytes(element) - mono.step_bytes(element) == heads


@pytest.mark.parametrize(("size", "melody"), [("medium", "melody"), ("large", "melody-large")])
@pytest.mark.parametrize("side", ["", "stereo-"])
def test_melody_model_lacks_cross_attention_and_reads_chroma_and_text_before_a_clip(
    size: str, melody: str, side: str
) -> None:
    plain, model = (find_model(f"facebook/musicgen-{side}{name}") for name in (size, melody))
    width, layers = plain.hidden_size, plain.layers
    assert plain.decoder_parameters - model.decoder_parameters == layers * (4 * width**2 + 2 * width)
    assert model.other_parameters - plain.other_parameters == 13 * width  # from 12 pitch classes, with a bias
    assert model.prefix_positions() == 235 + 128 and model.prefix_positions(0) == 236
    assert model.clip_pages() == 30  # 363 positions and 1503
    for kind in ("float16", "float32", "int8"):
        element = ELEMENT_BYTES["cuda", kind]
        queries = layers * 2 * (width**2 * element.layers + width * element.scales)
        assert plain.step_bytes(element) - model.step_bytes(element) == queries + layers * 2 * width * element.rest


@pytest.mark.parametrize("like", [model_id for model_id in SERVED_MODELS if "melody" in model_id])
def test_custom_melody_model_is_sized_as_the_published_one(cdk_context: dict[str, Any], like: str) -> None:
    published, custom = find_model(like), find_model("me/my-melody", like)
    for instance_type in ("ml.g5.2xlarge", "ml.c7i.4xlarge"):
        for weights in ("float16", "float32", "int8"):
            sized = (capacity(model, instance_type, weights).derived_requests() for model in (published, custom))
            assert len(set(sized)) == 1
    assert (custom.clip_pages(), custom.prefix_positions()) == (published.clip_pages(), 235 + 128)
    assert custom.staged_bytes("float16") == published.staged_bytes("float32")
    given = {"model_id": "me/my-melody", "model_like": like, "revision": "b" * 40}
    assert from_context({**cdk_context, **given}).model == custom


@pytest.mark.parametrize(("model", "gigabytes"), [(SMALL, 0.315), (MEDIUM, 0.944), (LARGE, 1.258)])
def test_longest_clip_holds_24_pages_of_64_positions_and_one_of_its_text(model: Model, gigabytes: float) -> None:
    assert model.clip_pages() == 25
    assert model.clip_pages() * model.page_bytes(2) / 1e9 == pytest.approx(gigabytes, abs=0.0005)
    assert model.page_bytes(4) == 2 * model.page_bytes(2) == 2 * 64 * model.position_bytes(2)


@pytest.mark.parametrize(("seconds", "clips"), [(5, 32), (10, 31), (20, 16), (30, 11)])
def test_concurrent_clips_of_large_on_24_gb_depend_on_their_length(seconds: int, clips: int) -> None:
    assert capacity(LARGE, "ml.g5.xlarge").concurrent_clips(seconds) == clips


@pytest.mark.parametrize("instance_type", INSTANCE_TYPES)
@pytest.mark.parametrize("model_id", SERVED_MODELS)
def test_derived_number_is_deployed_and_the_largest_that_memory_or_the_timeout_allows(
    cdk_context: dict[str, Any], model_id: str, instance_type: str
) -> None:
    """One more is refused, unless the slots or, on a CPU, half of the timeout were the limit."""
    for weights in ("float16", "float32", "int8"):
        held = capacity(find_model(model_id), instance_type, weights)
        derived = held.derived_requests()
        held.check(derived)
        if derived == 32:
            assert held.clips_in_memory() >= 32
        elif "gpu" in INSTANCE_TYPES[instance_type] or derived == held.clips_in_memory():
            with pytest.raises(ConfigError, match=rf"must be at most {derived}, or auto, for clips of 30 s"):
                held.check(derived + 1)
        else:
            assert derived == 1 or held.clip_seconds(clips=derived) <= 450
            assert held.clip_seconds(clips=derived + 1) > 450
    given = {**cdk_context, "model_id": model_id, "instance_type": instance_type, "revision": "0" * 40}
    assert from_context(given).concurrent_requests == capacity(find_model(model_id), instance_type).derived_requests()


def test_concurrency_follows_from_the_model_the_weights_the_clips_and_the_smallest_instance(
    cdk_context: dict[str, Any],
) -> None:
    def concurrency(**given: Any) -> tuple[int, int]:
        config = from_context({**cdk_context, **given})
        return config.concurrent_requests, config.target_backlog

    assert concurrency() == (11, 11)
    assert concurrency(weight_quantisation="int8") == (13, 13)
    assert concurrency(decoder_dtype="float32") == (3, 3)
    assert concurrency(clip_seconds=5) == (32, 32)
    assert concurrency(instance_type="ml.g6e.xlarge") == (30, 30)
    assert concurrency(instance_type="ml.g6e.xlarge", fallback_instance_types="ml.g5.xlarge") == (11, 11)
    assert concurrency(max_concurrent_requests="auto", target_backlog_per_instance="auto") == (11, 11)
    assert concurrency(max_concurrent_requests="3") == (3, 3)
    assert concurrency(target_backlog_per_instance=20) == (11, 20)


def test_more_requests_than_the_gpu_memory_holds_are_refused_with_what_is_allowed(cdk_context: dict[str, Any]) -> None:
    assert from_context({**cdk_context, "max_concurrent_requests": 11}).concurrent_requests == 11
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, "max_concurrent_requests": 12})
    assert str(error.value) == (
        "max_concurrent_requests must be at most 11, or auto, for clips of 30 s with facebook/musicgen-large in "
        "float16 on ml.g5.2xlarge, got 12: 24.9 GB are needed (7.2 GB of weights, 15.2 GB of KV pages, 2.6 GB in "
        "reserve) of 24.0 GB of GPU memory; set clip_seconds if clips are shorter"
    )
    assert from_context({**cdk_context, "max_concurrent_requests": 12, "clip_seconds": 25}).concurrent_requests == 12


def test_model_that_does_not_fit_with_one_clip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INSTANCE_TYPES["ml.g5.2xlarge"], "gpu_memory_gb", 10)
    with pytest.raises(ConfigError) as error:
        from_context({"environments": {"dev": {}}})
    assert str(error.value) == (
        "facebook/musicgen-large in float16 on ml.g5.2xlarge must hold one clip of 30 s: 11.1 GB are needed (7.2 GB of "
        "weights, 1.3 GB of KV pages, 2.6 GB in reserve) of 10.0 GB of GPU memory; choose a larger instance or a "
        "smaller model"
    )


def test_every_fallback_instance_type_must_fit_too(cdk_context: dict[str, Any]) -> None:
    given = {"instance_type": "ml.g6e.xlarge", "max_concurrent_requests": 20}
    assert from_context({**cdk_context, **given}).concurrent_requests == 20
    with pytest.raises(ConfigError, match=r"at most 11, or auto, .* on ml\.g5\.xlarge, got 20: .* of 24\.0 GB of GPU"):
        from_context({**cdk_context, **given, "fallback_instance_types": "ml.g5.xlarge"})


def test_8_bit_weights_on_a_gpu_need_float16_and_on_a_cpu_do_not(cdk_context: dict[str, Any]) -> None:
    given = {**cdk_context, "model_id": SMALL.model_id, "weight_quantisation": "int8", "decoder_dtype": "float32"}
    with pytest.raises(ConfigError, match=r"decoder_dtype must be float16 with weight_quantisation int8 on a GPU"):
        from_context(given)
    assert from_context({**given, "instance_type": "ml.c7i.4xlarge"}).concurrent_requests == 23


@pytest.mark.parametrize("model", [SMALL, MEDIUM, LARGE, *STEREO])
def test_decode_step_reads_all_weights_but_embeddings_and_the_texts_keys_and_values(model: Model) -> None:
    embeddings = model.codebooks * 2049 * model.hidden_size
    text = model.layers * 2 * model.hidden_size**2
    read = model.decoder_parameters - embeddings - text
    assert model.step_bytes(ELEMENT_BYTES["cpu", "float32"]) == 4 * read
    assert model.step_bytes(ELEMENT_BYTES["cpu", "float16"]) / 2 == pytest.approx(read, rel=0.001)
    ffn_out, heads = model.layers * 4 * model.hidden_size**2, model.codebooks * 2048 * model.hidden_size
    in_16_bits = ffn_out + heads
    assert model.step_bytes(ELEMENT_BYTES["cpu", "int8"]) == pytest.approx(read + in_16_bits, rel=0.01)


def test_clip_on_a_cpu_is_estimated_from_the_bytes_that_steps_read() -> None:
    """Small: 1.44 GB of weights a step, or half in float16, and 0.3 GB of cache, at half of 51.2 GB/s, 1503 times."""
    assert SHARE_OF_BANDWIDTH == 0.5
    single, half, eight = (capacity(SMALL, "ml.c7i.4xlarge", kind) for kind in ("float32", "float16", "int8"))
    assert single.clip_seconds() == pytest.approx(1503 * (1.443 + 0.296) / 25.6, rel=0.01)
    assert half.clip_seconds() == pytest.approx(1503 * (0.722 + 0.296) / 25.6, rel=0.01)
    assert eight.clip_seconds() == pytest.approx(1503 * (0.473 + 0.296) / 25.6, rel=0.01)
    assert capacity(SMALL, "ml.c7i.8xlarge").clip_seconds() == pytest.approx(half.clip_seconds() / 2)
    assert half.clip_seconds(seconds=5) < half.clip_seconds() / 6
    assert half.clip_seconds(clips=44) == pytest.approx(2 * half.clip_seconds(clips=22)), "22 at once, then 22 others"


@pytest.mark.parametrize("instance_type", ["ml.c7i.4xlarge", "ml.m7i.4xlarge", "ml.c6i.4xlarge"])
def test_small_and_medium_run_on_every_cpu_family(cdk_context: dict[str, Any], instance_type: str) -> None:
    for size, seconds in (("small", 60), ("medium", 240)):
        given = {"model_id": f"facebook/musicgen-{size}", "instance_type": instance_type}
        config = from_context({**cdk_context, **given})
        assert (config.device, config.capacity(instance_type).clip_seconds()) == ("cpu", pytest.approx(seconds, abs=1))


def test_requests_that_exceed_a_cpus_memory_are_refused_with_what_is_allowed(cdk_context: dict[str, Any]) -> None:
    given = {"instance_type": "ml.c7i.4xlarge", "max_concurrent_requests": 5, "weight_quantisation": "none"}
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, **given})
    assert str(error.value) == (
        "max_concurrent_requests must be at most 4, or auto, for clips of 30 s with facebook/musicgen-large in float16 "
        "on ml.c7i.4xlarge, got 5: 36.6 GB are needed (7.2 GB of weights, twice 12.7 GB of KV pages, which get half of "
        "what is free, 4.0 GB in reserve) of 34.4 GB of memory; set clip_seconds if clips are shorter"
    )


def test_requests_that_are_too_slow_on_a_cpu_are_refused_with_the_estimate(cdk_context: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, "instance_type": "ml.m7i.4xlarge", "max_concurrent_requests": 9})
    assert str(error.value) == (
        "max_concurrent_requests must be at most 8, or auto, for clips of 30 s with facebook/musicgen-large in float16 "
        "on ml.m7i.4xlarge, got 9: they are expected to take 958 s, and SageMaker's default invocation timeout is 900 "
        "s (an estimate from 5.7 GB of weights a step and 25.6 GB/s); set clip_seconds if clips are shorter"
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
