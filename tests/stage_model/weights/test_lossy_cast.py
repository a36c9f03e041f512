"""Decoder tensors that float16 cannot represent are found in one pass and keep float32; all others are cast."""

import io
import json
import tarfile
import time

import numpy as np
import pytest
from safetensors.numpy import save

import stage_model.handler
from stage_model.source.byte_source import HashUpdate
from stage_model.upload.hashing import HasherState, StreamHasher
from tests.stage_model.fakes.lambda_runner import BUCKET, Lambda


def uploads_started(aws: Lambda) -> int:
    return sum(request.startswith("POST") and request.endswith("?uploads") for request in aws.s3.requests)


def manifest(aws: Lambda, key: str) -> dict[str, object]:
    with tarfile.open(fileobj=io.BytesIO(aws.s3.objects[f"{BUCKET}/{key}"]), mode="r:gz") as archive:
        member = archive.extractfile("musicgen-manifest.json")
        return json.load(member) if member else {}


@pytest.fixture
def names(aws: Lambda) -> list[str]:
    """Tensors of a decoder trained in float32, each several parts long."""
    draw = np.random.default_rng(3)
    names = [f"decoder.model.decoder.layers.{layer:02d}.fc1.weight" for layer in range(24)]
    weights = {name: draw.standard_normal((150, 150)).astype("f4") for name in names}
    aws.hub.repository.write("model.safetensors", save(weights))
    return names


def test_any_number_of_them_costs_one_restart(names: list[str], aws: Lambda) -> None:
    response = aws.run()
    assert aws.holds_the_model(response) and uploads_started(aws) == 2
    assert manifest(aws, response["PhysicalResourceId"])["kept_float32"] == names


def test_those_found_before_a_new_invocation_are_remembered(
    names: list[str], aws: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_model.handler, "THREADS", 1)
    aws.end_invocations_after(lambda: 7)
    response = aws.run()
    assert aws.holds_the_model(response) and aws.invocations >= 5
    assert uploads_started(aws) == 2 and manifest(aws, response["PhysicalResourceId"])["kept_float32"] == names


def test_the_states_after_many_parts_cost_time_linear_in_parts_and_tensors() -> None:
    hasher, states, names = StreamHasher([]), list[HasherState](), [f"decoder.{n:05d}" for n in range(60_000)]
    start = time.process_time()
    for at in range(0, len(names), 12):
        hasher.update([HashUpdate("", (), lossy=name) for name in names[max(0, at - 1) : at + 12]])  # one is cut
        state = hasher.state()
        assert state is not None
        states.append(state)
    assert time.process_time() - start < 2  # over 100 s when every state held a sorted copy
    assert states[1].lossy == tuple(names[:24]) and states[-1].lossy == tuple(names)
    assert HasherState.from_json(states[1].to_json()).lossy == states[1].lossy
