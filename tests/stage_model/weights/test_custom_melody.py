# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.
"""A custom melody model is staged, from the Hub and from S3, and the engine generates what transformers does."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mypy_boto3_s3 import S3Client
from safetensors.numpy import load_file

from local_aws.hub import LoopbackHub, Repository
from local_aws.hub.tiny_model import make_tiny_musicgen
from mirror_model.__main__ import main
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.model.chroma import Chroma
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.reference_melody import ConditionedMusicgenMelody, MelodyReference
from tests.stage_model.conftest import BUCKET

Invoke = Callable[..., dict[str, Any]]
LIKE, RATE, FRAMES = "facebook/musicgen-melody", 32_000, 20
MIRROR = "a-mirror"
REMEDY = f"the stack is sized for {LIKE}; set model_like to"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=[False, True], ids=["mono", "stereo"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A melody model of random weights, as transformers saves it."""
    path = tmp_path_factory.mktemp("melody")
    make_tiny_musicgen(path, seed=3, stereo=request.param, melody=True)
    return path


@pytest.fixture
def repository(folder: Path) -> Repository:
    """The model on the Hub."""
    return Repository("me/my-melody", "b" * 40, {path.name: path.read_bytes() for path in folder.iterdir()})


@pytest.fixture
def size(folder: Path) -> dict[str, str]:
    """Exactly the model's size."""
    tensors = load_file(folder / "model.safetensors")
    decoder = sum(tensor.size for name, tensor in tensors.items() if name.startswith("decoder."))
    channels = json.loads((folder / "config.json").read_text())["decoder"]["audio_channels"]
    other = sum(tensor.size for tensor in tensors.values()) - decoder
    return {
        "Like": LIKE, "Layers": "2", "HiddenSize": "32", "AudioChannels": str(channels), "ChromaFrames": "235",
        "DecoderElements": str(decoder), "OtherElements": str(other),
        "CompanionModelId": "facebook/musicgen-small", "CompanionRevision": "c" * 40,
    }  # fmt: skip


def download(s3: S3Client, response: dict[str, Any], folder: Path) -> Path:
    """Copy what was staged as files into a folder, as SageMaker does."""
    assert response["Status"] == "SUCCESS", response
    prefix = response["PhysicalResourceId"]
    for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []):
        path = folder / item.get("Key", "").removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=BUCKET, Key=item.get("Key", ""))["Body"].read())
    return folder


@pytest.fixture
def mirrored(s3: S3Client, folder: Path) -> Iterator[dict[str, str]]:
    """Copy the folder to s3://a-mirror/models; return its model and commit."""
    s3.create_bucket(Bucket=MIRROR)
    given = ["--model-id", "me/my-melody", "--to", f"s3://{MIRROR}/models", "--region", "us-east-1"]
    assert main([*given, "--folder", str(folder)]) == 0
    keys = [item.get("Key", "") for item in s3.list_objects_v2(Bucket=MIRROR).get("Contents", [])]
    yield {"ModelId": "me/my-melody", "Revision": keys[0].split("/")[3]}
    for key in keys:
        s3.delete_object(Bucket=MIRROR, Key=key)
    s3.delete_bucket(Bucket=MIRROR)


@pytest.mark.parametrize("decoder_dtype", ["float16", "float32"])
def test_engine_generates_transformers_tokens_from_what_is_staged(
    invoke: Invoke, s3: S3Client, size: dict[str, str], folder: Path, tmp_path: Path,
    decoder_dtype: str,
) -> None:  # fmt: skip
    response = invoke(Custom=size, Packaging="uncompressed", DecoderDtype=decoder_dtype)
    staged = download(s3, response, tmp_path / "staged")
    model = ConditionedMusicgenMelody.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = Generator(
        staged, weight_format=WeightFormat(dtype="float32"), capacity=Capacity(slots=2), log=MemoryLog().log
    )
    try:
        time = np.arange(RATE) / RATE
        tune = np.sin(2 * np.pi * np.where(time < 0.5, 293.66, 392.0) * time).astype(np.float32)[None]
        params = SamplingParams(max_new_tokens=FRAMES + 3, do_sample=False)
        clips = [ClipSpec(text, 0, params, melody=tune) for text in ("calm piano", None)]
        result = generator.generate(clips)
        for clip, codes in zip(clips, result.codes, strict=True):
            tokens = torch.tensor([generator.tokenize(0, clip.text)] if clip.text else [[1]])
            reference = MelodyReference(model, folder, tokens, torch.ones_like(tokens))
            melody = Chroma(generator.runner.config, RATE).features(tune)
            expected = reference.codes(FRAMES, 3.0, text=0 if clip.text else None, melody=melody)
            assert codes.tolist() == expected.tolist()
    finally:
        generator.close()


def test_a_mirror_in_s3_stages_the_same_files(
    invoke: Invoke, s3: S3Client, hub: LoopbackHub, size: dict[str, str], tmp_path: Path, mirrored: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from_hub = download(s3, invoke(Custom=size, Packaging="uncompressed"), tmp_path / "hub")
    before = len(hub.requests)
    monkeypatch.setenv("HF_ENDPOINT", f"s3://{MIRROR}/models")
    from_s3 = download(s3, invoke(Custom=size, Packaging="uncompressed", **mirrored), tmp_path / "s3")
    assert len(hub.requests) == before
    names = [path.name for path in from_hub.iterdir() if path.is_file() and path.name != "musicgen-manifest.json"]
    assert "model.safetensors" in names
    for name in names:
        assert (from_s3 / name).read_bytes() == (from_hub / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"model_type": "musicgen"},
            f"model_type must be musicgen_melody, got 'musicgen': {REMEDY} another model than a melody model that is "
            "as large",
        ),
        (
            {"chroma_length": 236},
            f"chroma_length must be at most 235, got 236: {REMEDY} a published model that is as large",
        ),
        ({"chroma_length": "235"}, "chroma_length must be a positive whole number, got '235'"),
        ({"num_chroma": 24}, "num_chroma must be 12, got 24"),
    ],
)  # fmt: skip
def test_what_the_stack_is_not_sized_for_is_refused(
    invoke: Invoke, hub: LoopbackHub, size: dict[str, str], change: dict[str, Any], reason: str
) -> None:
    config = json.loads(hub.repository.read("config.json"))
    hub.repository.write("config.json", json.dumps({**config, **change}).encode())
    assert invoke(Custom=size)["Reason"] == f"config.json's {reason}"


@pytest.mark.parametrize(("name", "value"), [("hop_length", 2048), ("n_fft", 8192), ("num_chroma", 24)])
def test_chroma_that_the_engine_would_compute_differently_is_refused(
    invoke: Invoke, hub: LoopbackHub, size: dict[str, str], name: str, value: int
) -> None:
    """Whether it is in a file of its own, or with the processor, as transformers 5 saves it."""
    expected = {"hop_length": 4096, "n_fft": 16384, "num_chroma": 12}[name]
    processor = json.loads(hub.repository.read("processor_config.json"))
    changed = {**processor, "feature_extractor": {**processor["feature_extractor"], name: value}}
    hub.repository.write("processor_config.json", json.dumps(changed).encode())
    refusal = f"{name} must be {expected}, got {value}"
    assert invoke(Custom=size)["Reason"] == f"processor_config.json's feature_extractor.{refusal}"
    hub.repository.write("processor_config.json", json.dumps(processor).encode())
    hub.repository.write("preprocessor_config.json", json.dumps({name: value}).encode())
    assert invoke(Custom=size)["Reason"] == f"preprocessor_config.json's {refusal}"
    hub.repository.write("preprocessor_config.json", json.dumps({name: expected}).encode())
    hub.repository.write("processor_config.json", b'{"processor_class": "MusicgenMelodyProcessor"}')
    assert invoke(Custom=size)["Status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("name", "what"), [("DecoderElements", "the decoder"), ("OtherElements", "the text encoder and EnCodec")]
)
def test_the_projection_of_the_chroma_counts(invoke: Invoke, size: dict[str, str], name: str, what: str) -> None:
    less = str(int(size[name]) - 1)
    reason = f"{what} must have at most {less} elements, got {size[name]}: {REMEDY} a published model that is as large"
    assert invoke(Custom={**size, name: less})["Reason"] == reason
