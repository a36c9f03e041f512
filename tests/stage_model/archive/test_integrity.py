"""The checks on bytes read and stored: each is performed, and each matters."""

import http.client
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

import stage_model.handler
from local_aws.hub import HubRequest, Reply
from stage_model.archive.object_layout import Member, tarball_object
from stage_model.archive.staging_plan import collect_inputs
from stage_model.errors import StagingError, TransientError
from stage_model.http import raise_if_retryable
from stage_model.request import StagedModelRequest
from stage_model.s3 import StoredPart
from stage_model.source.byte_source import Stream
from stage_model.source.hub import Location, follow_redirect
from stage_model.source.repository_listing import parse_listing
from stage_model.upload.hashing import Sha256, StreamHasher
from stage_model.upload.journal import ResumePoint, UploadedPart
from stage_model.upload.pipeline import PartProducer
from staging_simulation.schedule import violations
from staging_simulation.tiny_repository import BUNDLE, LIMITS, MemoryHub
from tests.stage_model.fakes.lambda_runner import BUCKET, PREFIX, Lambda, flipped, reads_weights


@pytest.fixture
def scale() -> int:
    """Weights of about 200 kB: several parts."""
    return 30


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_small_file_with_a_flipped_bit_is_rejected_by_its_git_checksum(name: str, aws: Lambda) -> None:
    aws.hub.on_reply = lambda request, reply: flipped(request, reply) if f"/{name}" in request.target else reply
    response = aws.run()
    assert f"{name} must have git blob SHA-1" in response["Reason"] and aws.is_empty()


def test_ranges_after_the_first_request_the_same_version(aws: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_model.handler, "THREADS", 1)
    aws.run()
    ranges = list(filter(reads_weights, aws.hub.requests))
    assert len(ranges) > 3 and all("If-Match" in request.headers for request in ranges[1:])


def test_every_request_to_the_hub_names_the_client(aws: Lambda) -> None:
    aws.run()
    agents = {(request.origin, request.headers.get("User-Agent")) for request in aws.hub.requests}
    assert agents == {("hub", "musicgen-on-aws/1 stage_model"), ("cdn", "musicgen-on-aws/1 stage_model")}


@pytest.mark.parametrize("left_out", ["x-amz-checksum-crc32", "x-amz-mp-object-size", "if-none-match"])
def test_the_loopback_s3_requires_all_checksums_of_a_completion(left_out: str, aws: Lambda) -> None:
    reply = aws.s3.respond("POST", f"/{BUCKET}/{PREFIX}x?uploads", {}, b"")
    upload_id = reply.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    checksums = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT", "x-amz-mp-object-size": "0"}
    headers = {name: value for name, value in {**checksums, "if-none-match": "*"}.items() if name != left_out}
    target = f"/{BUCKET}/{PREFIX}x?uploadId={upload_id}"
    refused = aws.s3.respond("POST", target, headers, b"<CompleteMultipartUpload/>")
    assert refused.status == 400 and f"Missing {left_out}".encode() in refused.body
    everything = {**checksums, "if-none-match": "*"}
    assert aws.s3.respond("POST", target, everything, b"<CompleteMultipartUpload/>").status == 200


@pytest.mark.parametrize(
    ("flipped_bit", "outcome"),
    [(0, nullcontext()), (1, pytest.raises(StagingError, match="other bytes than in an earlier run"))],
)
def test_a_part_with_other_bytes_than_in_an_earlier_run_is_rejected(
    flipped_bit: int, outcome: AbstractContextManager[object]
) -> None:
    request = StagedModelRequest(
        "facebook/tiny", "a" * 40, "float16", "assets", "bundle.zip", BUCKET, PREFIX, "tarball"
    )
    plan = collect_inputs(request, MemoryHub(lossy=False), BUNDLE, LIMITS).plan(())
    first = PartProducer(plan, ResumePoint())
    built = first.build(first.tasks[0], memoryview(bytearray(first.buffer_size)))
    stored = StoredPart(1, "etag", built.frame_crc, len(built.frame))
    resume = ResumePoint((UploadedPart(stored, built.payload_crc ^ flipped_bit, built.payload_length),))
    again = PartProducer(plan, resume)
    rebuilt = again.build(again.tasks[0], memoryview(bytearray(again.buffer_size)))
    with outcome:
        again.hash(again.tasks[0], rebuilt)


def test_the_simulation_detects_a_hasher_that_compares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(self: StreamHasher, stream: Stream, sha256: Sha256) -> None:
        hasher = cast(Any, self)
        hasher._digests[stream.name] = sha256.hexdigest()
        hasher._hashes.pop(stream.name, None)
        hasher._lengths.pop(stream.name, None)

    monkeypatch.setattr(StreamHasher, "_finish", finish)
    assert any("the staged bytes must be the expected ones" in line for line in violations(range(250)))


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Fri, 27 Nov 2026 10:00:00 GMT"}, None),
        ({"Retry-After": "999999"}, 3600.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api"; r=0; t=55'}, 55.0),
        ({"RateLimit": '"api";r=0;t=soon'}, None),
        ({"Retry-After": "7", "RateLimit": '"api";r=0;t=55'}, 7.0),
    ],
)
def test_a_retryable_reply_says_how_long_to_wait(headers: Mapping[str, str], wait_s: float | None) -> None:
    with pytest.raises(TransientError) as caught:
        raise_if_retryable(cast(http.client.HTTPResponse, SimpleNamespace(status=429, headers=headers)), "the Hub")
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    "path", ["../evil.json", "/etc/passwd.json", "a/b.json", ".hidden.json", "a\\b.json", "a\n.json"]
)
def test_paths_outside_the_root_are_ignored_in_a_listing(path: str, aws: Lambda) -> None:
    listing = {**aws.hub.repository.information(), "siblings": [{"rfilename": path, "size": 2, "blobId": "0" * 40}]}
    assert parse_listing(json.dumps(listing).encode(), "the model", aws.hub.repository.revision) == []


def test_a_listing_that_names_a_file_twice_is_rejected(aws: Lambda) -> None:
    sibling = {"rfilename": "a.safetensors", "size": 2, "blobId": "0" * 40}
    listing = {**aws.hub.repository.information(), "siblings": [sibling, {**sibling, "blobId": "1" * 40}]}
    with pytest.raises(StagingError, match=r"must name every file once, got a\.safetensors twice"):
        parse_listing(json.dumps(listing).encode(), "the model", aws.hub.repository.revision)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_two_shards_with_the_same_tensors_are_rejected_also_if_they_are_copied(dtype: str, aws: Lambda) -> None:
    weights = aws.hub.repository.read("model.safetensors")
    aws.hub.repository.files.pop("model.safetensors")
    shards = ["model-1.safetensors", "model-2.safetensors"]
    for shard in shards:
        aws.hub.repository.write(shard, weights)
    index = json.dumps({"weight_map": {"decoder.a": shards[0], "decoder.b": shards[1]}}).encode()
    aws.hub.repository.write("model.safetensors.index.json", index)
    response = aws.run(DecoderDtype=dtype)
    assert "must name every tensor once, got twice" in response["Reason"] and aws.is_empty()


def test_a_model_of_more_parts_than_s3_allows_is_rejected_rather_than_cut_into_larger_ones() -> None:
    with pytest.raises(StagingError, match="at most 10000 parts of 8388480 bytes, got 1099511633920 bytes"):
        tarball_object("key", [Member("model.safetensors", 1 << 40), Member("manifest", 10)])


def run_with_index(aws: Lambda, shard: object) -> Any:
    """Stage a repository whose index names this as the only shard."""
    aws.hub.repository.files.pop("model.safetensors")
    index = json.dumps({"weight_map": {"decoder.a": shard}}).encode()
    aws.hub.repository.write("model.safetensors.index.json", index)
    return aws.run()


@pytest.mark.parametrize("name", ["../evil.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_a_shard_index_must_name_files_of_the_listing(name: str, aws: Lambda) -> None:
    response = run_with_index(aws, name)
    assert "must hold every shard" in response["Reason"] and aws.is_empty()


@pytest.mark.parametrize("value", [["x"], {"a": 1}, 3, None])
def test_a_shard_index_without_files_is_rejected(value: object, aws: Lambda) -> None:
    response = run_with_index(aws, value)
    assert "must name at most 1000 files, got 0, one of them" in response["Reason"] and aws.is_empty()


def test_a_redirect_from_https_to_loopback_is_rejected() -> None:
    hub = Location("https://huggingface.co/a/resolve/b/model.safetensors")
    with pytest.raises(StagingError, match=r"from huggingface\.co must lead to https, got http://127\.0\.0\.1"):
        follow_redirect(hub, "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next")
    assert follow_redirect(hub, "https://cdn.example/x").url == "https://cdn.example/x"


def renamed(request: HubRequest, reply: Reply) -> Reply:
    """Reply as the Hub does for a renamed model."""
    if request.target.startswith("/api/models/facebook/musicgen-tiny/") and "moved" not in request.target:
        return Reply(307, {"Location": f"{request.target}&moved=1"})
    return reply


def test_a_renamed_model_is_found_under_its_new_name(aws: Lambda) -> None:
    aws.hub.on_reply = renamed
    assert aws.holds_the_model(aws.run())


def test_a_listing_that_redirects_in_circles_is_rejected(aws: Lambda) -> None:
    def circle(request: HubRequest, reply: Reply) -> Reply:
        return replace(reply, status=307, headers={"Location": request.target}) if "/api/" in request.target else reply

    aws.hub.on_reply = circle
    response = aws.run()
    assert "redirected more than 5 times" in response["Reason"] and aws.is_empty()
