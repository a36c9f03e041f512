"""A custom model is staged if its config.json and tensors are what the stack was sized for, else nothing is moved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mypy_boto3_s3 import S3Client
from safetensors.numpy import load, save

from local_aws.hub import LoopbackHub, Repository
from tests.stage_model.conftest import BUCKET
from tests.stage_model.fakes.lambda_runner import reads_weights

Invoke = Callable[..., dict[str, Any]]
LIKE = "facebook/musicgen-small"
SIZE = {
    "Like": LIKE, "Layers": "2", "HiddenSize": "32", "AudioChannels": "1", "ChromaFrames": "0",
    "CompanionModelId": LIKE, "CompanionRevision": "c" * 40,
}  # fmt: skip
REMEDY = f"the stack is sized for {LIKE}; set model_like to a published model that is as large"


@pytest.fixture
def repository(tiny_musicgen: Path) -> Repository:
    """A tiny model in the format of transformers."""
    files = {path.name: path.read_bytes() for path in tiny_musicgen.iterdir() if path.is_file()}
    return Repository("me/my-musicgen", "b" * 40, files)


@pytest.fixture
def size(repository: Repository) -> dict[str, str]:
    """Exactly the tiny model's size."""
    tensors = load(repository.read("model.safetensors"))
    decoder = sum(tensor.size for name, tensor in tensors.items() if name.startswith("decoder."))
    other = sum(tensor.size for tensor in tensors.values()) - decoder
    return {**SIZE, "DecoderElements": str(decoder), "OtherElements": str(other)}


def manifest(s3: S3Client, response: dict[str, Any]) -> dict[str, Any]:
    key = response["PhysicalResourceId"] + "musicgen-manifest.json"
    return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, None),
        (b"# A card without a header\nlicense: mit\n", None),
        (b"---\nlicense: mit\n---\n", "mit"),
        (b"---\r\ntags:\r\n- license: no\r\nlicense: 'cc-by-sa-4.0'\r\n---\r\n", "cc-by-sa-4.0"),
        (b"---\nlicense: other\nlicense_name: our-own\n---\n", "our-own"),
        (b"---\nlicense: other\n---\n", "other"),
        (b"---\nlicense: [mit, apache-2.0]\n---\n", None),
        (b'---\nlicense: mit"; drop\n---\n', None),
        (b"---\n" + b"license:\n" * 10_000 + b"---\n", None),
    ],
)
def test_the_licence_is_the_cards_and_never_metas(
    invoke: Invoke, repository: Repository, s3: S3Client, size: dict[str, str], card: bytes | None, expected: str | None
) -> None:
    if card is not None:
        repository.write("README.md", card)
    response = invoke(Packaging="uncompressed", Custom=size)
    assert response["Status"] == "SUCCESS", response
    assert manifest(s3, response)["license"] == expected


def test_a_published_models_licence_is_metas_whatever_its_card_says(
    invoke: Invoke, repository: Repository, s3: S3Client
) -> None:
    repository.write("README.md", b"---\nlicense: mit\n---\n")
    assert manifest(s3, invoke(Packaging="uncompressed"))["license"] == "CC-BY-NC-4.0 (model weights)"


CONFIGS: list[tuple[str, object, str]] = [
    (
        "model_type",
        "musicgen_melody",
        f"model_type must be musicgen, got 'musicgen_melody': the stack is sized for {LIKE}; set model_like to "
        "a melody model that is as large",
    ),
    ("model_type", None, "model_type must be musicgen or musicgen_melody, got None"),
    ("text_encoder", None, "text_encoder must be an object, got None"),
    ("text_encoder.model_type", "roberta", "text_encoder.model_type must be t5, got 'roberta'"),
    ("audio_encoder.model_type", "dac", "audio_encoder.model_type must be encodec, got 'dac'"),
    ("audio_encoder.codebook_size", 1024, "audio_encoder.codebook_size must be 64, got 1024"),
    ("audio_encoder.audio_channels", 2, "audio_encoder.audio_channels must be 1, got 2"),
    ("audio_encoder.normalize", True, "audio_encoder.normalize must be False, got True"),
    (
        "audio_encoder.sampling_rate",
        24_000,
        "audio_encoder.sampling_rate must be 50 times the product 640 of upsampling_ratios, got 24000",
    ),
    (
        "audio_encoder.upsampling_ratios",
        [8, "5"],
        "audio_encoder.upsampling_ratios must be a list of positive whole numbers, got [8, '5']",
    ),
    ("decoder.activation_function", "relu", "decoder.activation_function must be gelu, got 'relu'"),
    ("decoder.scale_embedding", True, "decoder.scale_embedding must be False, got True"),
    ("decoder.scale_embedding", 0, "decoder.scale_embedding must be False, got 0"),
    ("decoder.num_codebooks", 8, "decoder.num_codebooks must be 4, got 8"),
    ("decoder.pad_token_id", 0, "decoder.pad_token_id must be 64, got 0"),
    ("decoder.vocab_size", "64", "decoder.vocab_size must be a positive whole number, got '64'"),
    ("decoder.num_attention_heads", 5, "decoder.num_attention_heads must be a divisor of hidden_size 32, got 5"),
    ("decoder.num_attention_heads", 0, "decoder.num_attention_heads must be a positive whole number, got 0"),
    ("decoder.num_hidden_layers", 3, f"decoder.num_hidden_layers must be at most 2, got 3: {REMEDY}"),
    ("decoder.hidden_size", 64, f"decoder.hidden_size must be at most 32, got 64: {REMEDY}"),
    ("decoder.ffn_dim", 129, f"decoder.ffn_dim must be at most 128, got 129: {REMEDY}"),
]


@pytest.mark.parametrize(("field", "value", "reason"), CONFIGS)
def test_a_config_of_another_architecture_is_refused_before_weights_are_read(
    invoke: Invoke, hub: LoopbackHub, size: dict[str, str], left_in_bucket: Callable[[], Any],
    field: str, value: object, reason: str,
) -> None:  # fmt: skip
    config = json.loads(hub.repository.read("config.json"))
    *parts, name = field.split(".")
    holder = config
    for part in parts:
        holder = holder[part]
    holder[name] = value
    hub.repository.write("config.json", json.dumps(config).encode())
    response = invoke(Custom=size)
    assert (response["Status"], response["Reason"]) == ("FAILED", f"config.json's {reason}")
    moved = [request for request in hub.requests if reads_weights(request)]
    assert len(moved) <= 2  # the length of the header, and the header
    assert left_in_bucket() == ([], 0)


def test_stereo_is_refused_where_the_stack_is_sized_for_mono(
    invoke: Invoke, hub: LoopbackHub, size: dict[str, str]
) -> None:
    config = json.loads(hub.repository.read("config.json"))
    config["decoder"] |= {"audio_channels": 2, "num_codebooks": 8}
    hub.repository.write("config.json", json.dumps(config).encode())
    reason = f"config.json's decoder.audio_channels must be at most 1, got 2: {REMEDY}"
    assert invoke(Custom=size)["Reason"] == reason


@pytest.mark.parametrize(
    ("name", "what"), [("DecoderElements", "the decoder"), ("OtherElements", "the text encoder and EnCodec")]
)
def test_the_limits_are_exact(
    invoke: Invoke, size: dict[str, str], left_in_bucket: Callable[[], Any], name: str, what: str
) -> None:
    less = str(int(size[name]) - 1)
    response = invoke(Custom={**size, name: less})
    assert response["Reason"] == f"{what} must have at most {less} elements, got {size[name]}: {REMEDY}"
    assert left_in_bucket() == ([], 0)
    assert invoke(Custom=size)["Status"] == "SUCCESS"


def test_an_embedding_that_is_stored_under_both_its_names_counts_once(
    invoke: Invoke, hub: LoopbackHub, size: dict[str, str]
) -> None:
    tensors = load(hub.repository.read("model.safetensors"))
    tensors["text_encoder.encoder.embed_tokens.weight"] = tensors["text_encoder.shared.weight"].copy()
    hub.repository.write("model.safetensors", save(tensors))
    assert invoke(Custom=size)["Status"] == "SUCCESS"


def test_a_decoder_in_eight_bytes_is_refused(invoke: Invoke, hub: LoopbackHub, size: dict[str, str]) -> None:
    tensors = load(hub.repository.read("model.safetensors"))
    name = "decoder.lm_heads.0.weight"
    tensors[name] = tensors[name].astype(np.float64)
    hub.repository.write("model.safetensors", save(tensors))
    assert invoke(Custom=size)["Reason"] == f"{name} must be one of F32, F16, BF16, got F64"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Layers": "-1"}, "Layers must be a number of up to 12 digits, got '-1'"),
        ({"Like": "small"}, "Like must be the Hub id of a published model, got 'small'"),
        ({"CompanionRevision": "main"}, "CompanionRevision must be a commit of 40 hexadecimal digits, got 'main'"),
    ],
)
def test_malformed_limits_are_refused(
    invoke: Invoke, size: dict[str, str], change: dict[str, str], reason: str
) -> None:
    assert invoke(Custom={**size, **change})["Reason"] == reason
    assert invoke(Custom="large")["Reason"] == "Custom must be an object, got 'large'"
