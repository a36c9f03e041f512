"""Settings from the container's environment."""

from pathlib import Path

import pytest

from musicgen_serving.settings import Settings

MINIMAL = {"MUSICGEN_OUTPUT_BUCKET": "out"}


def test_uses_the_contracts_defaults() -> None:
    assert Settings.from_environment(MINIMAL) == Settings(
        output_bucket="out",
        input_bucket=None,
        external_buckets=(),
        device=None,
        image=None,
        endpoint=None,
        decoder_dtype="float16",
        weight_quantisation="none",
        max_concurrent_requests=4,
        hang_seconds=120,
        bind_host="0.0.0.0",
        port=8080,
        log_file=Path("/proc/1/fd/1"),
    )


def test_reads_every_variable() -> None:
    settings = Settings.from_environment(
        {
            **MINIMAL,
            "MUSICGEN_INPUT_BUCKET": "uploads",
            "MUSICGEN_EXTERNAL_BUCKETS": "one, two,",
            "MUSICGEN_DEVICE": "cpu",
            "MUSICGEN_IMAGE": "registry/image:tag",
            "MUSICGEN_ENDPOINT": "musicgen-dev",
            "MUSICGEN_DECODER_DTYPE": "float32",
            "MUSICGEN_WEIGHT_QUANTISATION": "int8",
            "MUSICGEN_MAX_CONCURRENT_REQUESTS": "8",
            "MUSICGEN_HANG_SECONDS": "600",
            "MUSICGEN_BIND_HOST": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": "18080",
            "MUSICGEN_LOG_FILE": "/tmp/log",
        }
    )
    assert settings.buckets == ("out", "one", "two")
    assert settings.input_bucket == "uploads"
    assert (settings.device, settings.image) == ("cpu", "registry/image:tag")
    assert settings.endpoint == "musicgen-dev"
    assert settings.weight_quantisation == "int8"
    assert (settings.decoder_dtype, settings.max_concurrent_requests) == ("float32", 8)
    assert (settings.hang_seconds, settings.port) == (600, 18080)
    assert (settings.bind_host, settings.log_file) == ("127.0.0.1", Path("/tmp/log"))


def test_does_not_log_to_process_1_outside_a_container() -> None:
    assert Settings.from_environment({**MINIMAL, "SAGEMAKER_BASE_DIR": "/tmp/x"}).log_file is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MUSICGEN_OUTPUT_BUCKET", " ", "MUSICGEN_OUTPUT_BUCKET must be set in the container's environment, got ' '"),
        ("MUSICGEN_DEVICE", "gpu", "MUSICGEN_DEVICE must be one of cuda, cpu, got 'gpu'"),
        ("MUSICGEN_DEVICE", "", "MUSICGEN_DEVICE must be one of cuda, cpu, got ''"),
        ("MUSICGEN_DECODER_DTYPE", "int8", "MUSICGEN_DECODER_DTYPE must be one of float16, float32, got 'int8'"),
        ("MUSICGEN_HANG_SECONDS", "9", "MUSICGEN_HANG_SECONDS must be an integer from 10 to 3600, got '9'"),
        ("MUSICGEN_WEIGHT_QUANTISATION", "4", "MUSICGEN_WEIGHT_QUANTISATION must be one of none, int8, got '4'"),
        (
            "MUSICGEN_MAX_CONCURRENT_REQUESTS",
            "0",
            "MUSICGEN_MAX_CONCURRENT_REQUESTS must be an integer from 1 to 1000, got '0'",
        ),
        ("SAGEMAKER_BIND_TO_PORT", "http", "SAGEMAKER_BIND_TO_PORT must be an integer from 1 to 65535, got 'http'"),
    ],
)
def test_names_the_invalid_variable(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Settings.from_environment({**MINIMAL, name: value})
    assert str(caught.value) == sentence
