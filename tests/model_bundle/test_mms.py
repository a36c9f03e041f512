"""The bundle in a real multi-model-server: start, responses and recovery."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from soak.container_client import HttpResponse
from soak.mms_instance import MmsInstance, loopback_s3

SHORT = {"texts": ["a"], "generation_params": {"max_new_tokens": 5}}


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    with loopback_s3() as (address, _):
        yield address


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, staged_musicgen: Path, s3_address: str) -> Iterator[MmsInstance]:
    """One multi-model-server for the module."""
    started = MmsInstance(tmp_path_factory.mktemp("mms"), staged_musicgen, s3_address)
    yield started
    started.stop()


@pytest.fixture
def running(instance: MmsInstance) -> MmsInstance:
    """The instance, ready to serve."""
    instance.wait_for_ping()
    return instance


def test_ping_is_refused_then_503_until_the_model_has_generated(running: MmsInstance) -> None:
    assert running.statuses_at_start == {0, 503, 200}
    assert running.events("ready")


def test_generates_and_uploads(running: MmsInstance) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 53, "seed": 7}}
    response = running.client.invoke(body, X_Amzn_SageMaker_Inference_Id="mms-1")
    assert response.status == 200, response.body
    assert response.json["generated_outputs_s3"] == ["s3://out/audio/mms-1/musicgen_small_mms-1_0.wav"]
    assert response.json["durations"] == [1.0]


def test_returns_audio(running: MmsInstance) -> None:
    response = running.client.invoke({"texts": ["a"], "generation_params": {"max_new_tokens": 13}}, Accept="audio/wav")
    assert (response.status, response.headers["Content-Type"]) == (200, "audio/wav")
    assert len(response.body) == 44 + 2 * 6400


def test_rejects_a_bad_request_with_one_sentence(running: MmsInstance) -> None:
    response = running.client.invoke({"texts": []})
    sentence = "texts must be an array of 1 to 16 strings, got an array of 0 items"
    assert (response.status, response.json) == (422, {"error": sentence, "status": 422})


def test_batches_four_concurrent_requests(running: MmsInstance) -> None:
    responses: list[HttpResponse] = []
    body = {"texts": ["calm piano"], "generation_params": {"duration": 10}}
    threads = [threading.Thread(target=lambda: responses.append(running.client.invoke(body))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [response.status for response in responses] == [200] * 4
    assert max(response.json["clips_in_flight"] for response in responses) > 1


def test_a_killed_worker_is_restarted_and_answers_503_while_it_loads(running: MmsInstance) -> None:
    starts = running.events("start")[-1]["starts"]
    running.kill_worker()
    assert running.wait_for_ping() == {0, 503, 200}
    assert running.events("start")[-1]["starts"] == starts + 1
    assert running.client.invoke(SHORT).status == 200


def test_multi_model_servers_own_port_refers_to_the_containers(running: MmsInstance) -> None:
    response = running.supervisor.invoke({"texts": ["a"]})
    assert (response.status, response.body) == (404, b"requests go to /invocations of the container's port")


def test_a_worker_without_its_parent_keeps_serving_until_it_ends(
    tmp_path: Path, staged_musicgen: Path, s3_address: str
) -> None:
    server = MmsInstance(tmp_path, staged_musicgen, s3_address)
    try:
        parent = server.worker.parent()
        assert isinstance(parent, psutil.Process)
        parent.kill()
        assert server.client.invoke(SHORT).status == 200
        server.kill_worker()
        assert server.wait_for_ping(0) <= {0, 200}  # nothing restarts it; SageMaker replaces the dead container
        with pytest.raises(ConnectionError):
            server.client.invoke(SHORT)
    finally:
        server.stop()


class GpuImage(MmsInstance):
    """An instance whose stack asks for CUDA, which CI machines do not have."""

    def _environment(self, s3_address: str) -> dict[str, str]:
        gpu = {"MUSICGEN_DEVICE": "cuda", "MUSICGEN_IMAGE": "registry/image:gpu", "CUDA_VISIBLE_DEVICES": ""}
        return super()._environment(s3_address) | gpu


def test_an_instance_without_the_cuda_it_needs_is_never_ready_and_says_so_at_each_start(
    tmp_path: Path, staged_musicgen: Path, s3_address: str
) -> None:
    server = GpuImage(tmp_path, staged_musicgen, s3_address, ready=False)
    try:
        server.wait_for_event("cuda_unavailable")
        assert 200 not in server.wait_for_ping(503)  # the next start, until its import of torch has ended
        lines = [json.loads(line) for line in (tmp_path / "bundle.log").read_text(encoding="utf-8").splitlines()]
        assert [line["event"] for line in lines[:3]] == ["start", "cuda_unavailable", "start"]
        assert lines[1]["image"] == "registry/image:gpu"
        assert not server.events("ready")
    finally:
        server.stop()


def test_a_bundle_that_cannot_load_is_never_ready(tmp_path: Path, staged_musicgen: Path, s3_address: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in staged_musicgen.iterdir():
        if file.name != "model.safetensors":
            (broken / file.name).symlink_to(file.resolve())
    base = tmp_path / "base"
    base.mkdir()
    server = MmsInstance(base, broken, s3_address, ready=False)
    try:
        server.wait_for_ping(503)
        server.wait_for_event("start_failed")
        assert 200 not in server.wait_for_ping(0)
        (failed, *_) = server.events("start_failed")
        assert "must hold model*.safetensors, got none" in failed["error"]
    finally:
        server.stop()
