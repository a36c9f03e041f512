"""The custom resource end to end, with a loopback Hub, S3 and response URL."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mypy_boto3_s3 import S3Client
from safetensors.numpy import load, save

from local_aws.hub import LoopbackHub
from tests.stage_model.fakes.lambda_runner import bundle
from tests.stage_model.fakes.response_sink import ResponseSink

Invoke = Callable[..., dict[str, Any]]
Look = Callable[[], tuple[list[str], int]]


def members(s3: S3Client, key: str) -> dict[str, bytes]:
    data = s3.get_object(Bucket="artifacts", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        files = {info.name: archive.extractfile(info) for info in archive}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_create_stages_exactly_the_model_the_bundle_and_the_manifest(
    invoke: Invoke, hub: LoopbackHub, s3: S3Client
) -> None:
    response = invoke()
    assert response["Status"] == "SUCCESS", response
    staged = members(s3, response["PhysicalResourceId"])
    names = ("config.json", "generation_config.json", "tokenizer.json", "spiece.model", "model.safetensors")
    want = {name: hub.repository.read(name) for name in names}
    want["code/inference.py"] = b"model_fn = None\n"
    manifest = json.loads(staged.pop("musicgen-manifest.json"))
    assert staged == want
    assert manifest["version"] is None  # this bundle has no file VERSION
    assert {f["path"]: f["sha256"] for f in manifest["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in want.items()
    }


def test_manifest_has_the_version_of_the_bundle(invoke: Invoke, s3: S3Client) -> None:
    version = (Path(__file__).parents[3] / "model_bundle" / "code" / "VERSION").read_bytes()
    files = {"inference.py": b"model_fn = None\n", "VERSION": version}
    s3.put_object(Bucket="assets", Key="bundle.zip", Body=bundle(files))
    staged = members(s3, invoke()["PhysicalResourceId"])
    assert staged["code/VERSION"] == version
    assert json.loads(staged["musicgen-manifest.json"])["version"] == version.decode().strip()


def test_create_returns_the_attributes_that_the_stack_uses(invoke: Invoke, hub: LoopbackHub, s3: S3Client) -> None:
    response = invoke()
    key, digest = response["PhysicalResourceId"], response["Data"]["Digest"]
    assert key == f"models/Stack/Model/{digest}/model.tar.gz"
    size = s3.head_object(Bucket="artifacts", Key=key)["ContentLength"]
    assert response["Data"] == {
        "ModelDataUrl": f"s3://artifacts/{key}",
        "Digest": digest,
        "Bytes": str(size),
        "Revision": hub.repository.revision,
    }
    assert (response["StackId"], response["LogicalResourceId"]) == (
        "arn:aws:cloudformation:us-east-1:123456789012:stack/Stack/1",
        "Model",
    )


def test_delete_removes_the_staged_object(invoke: Invoke, left_in_bucket: Look) -> None:
    key = invoke()["PhysicalResourceId"]
    assert left_in_bucket()[0] == [key]
    assert invoke("Delete", key)["Status"] == "SUCCESS"
    assert left_in_bucket() == ([], 0)


@pytest.mark.usefixtures("s3")
def test_float16_halves_the_decoder_and_is_recorded_in_the_manifest(
    invoke: Invoke, hub: LoopbackHub, s3: S3Client
) -> None:
    staged = members(s3, invoke(DecoderDtype="float16")["PhysicalResourceId"])
    published, weights = load(hub.repository.read("model.safetensors")), load(staged["model.safetensors"])
    assert {name: values.dtype.name for name, values in weights.items() if name.startswith("decoder.")} == {
        name: "float16" for name in published if name.startswith("decoder.")
    }
    assert all((weights[name].astype(values.dtype) == values).all() for name, values in published.items())
    manifest = json.loads(staged["musicgen-manifest.json"])
    assert (manifest["decoder_dtype"], manifest["kept_float32"]) == ("float16", [])
    assert manifest["sources"] == [
        {
            "path": "model.safetensors",
            "size": len(hub.repository.read("model.safetensors")),
            "sha256": hashlib.sha256(hub.repository.read("model.safetensors")).hexdigest(),
        }
    ]


def test_tensors_that_float16_would_damage_keep_float32_and_are_reported(
    invoke: Invoke, hub: LoopbackHub, s3: S3Client
) -> None:
    weights = load(hub.repository.read("model.safetensors"))
    weights["decoder.embed_positions.weights"] = np.sin(np.arange(300, dtype="f4"))
    hub.repository.write("model.safetensors", save(weights))
    response = invoke(DecoderDtype="float16")
    staged = members(s3, response["PhysicalResourceId"])
    assert json.loads(staged["musicgen-manifest.json"])["kept_float32"] == ["decoder.embed_positions.weights"]
    got = load(staged["model.safetensors"])
    assert got["decoder.embed_positions.weights"].dtype == np.float32
    assert all((got[name].astype(values.dtype) == values).all() for name, values in weights.items())


def test_uncompressed_packaging_stages_the_same_files_under_a_prefix(
    invoke: Invoke, s3: S3Client, left_in_bucket: Look
) -> None:
    tarball = members(s3, invoke()["PhysicalResourceId"])
    response = invoke(Packaging="uncompressed")
    prefix = response["PhysicalResourceId"]
    assert response["Data"]["ModelDataUrl"] == f"s3://artifacts/{prefix}"
    keys = [key for key in left_in_bucket()[0] if key.startswith(prefix)]
    staged = {key[len(prefix) :]: s3.get_object(Bucket="artifacts", Key=key)["Body"].read() for key in keys}
    assert staged == tarball
    assert invoke("Delete", prefix)["Status"] == "SUCCESS"
    assert not [key for key in left_in_bucket()[0] if key.startswith(prefix)]


def test_the_response_is_retried_when_cloudformation_rejects_it(invoke: Invoke, sink: ResponseSink) -> None:
    sink.refusals = 2
    assert invoke("Delete", "models/Stack/Model/unstaged")["Status"] == "SUCCESS"
    assert sink.content_types == [""]
