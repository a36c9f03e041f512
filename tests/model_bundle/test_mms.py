"""The bundle under the real multi-model-server: its start, its answers, and what it survives."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from soak.bundle_client import HttpAnswer
from soak.mms_instance import MmsInstance, loopback_s3

SHORT = {"texts": ["a"], "generation_params": {"max_new_tokens": 5}}


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    with loopback_s3() as (address, _):
        yield address


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, staged_musicgen: Path, s3_address: str) -> Iterator[MmsInstance]:
    """One multi-model-server; ended, with all its processes, after the module."""
    started = MmsInstance(tmp_path_factory.mktemp("mms"), staged_musicgen, s3_address)
    yield started
    started.stop()


@pytest.fixture
def running(instance: MmsInstance) -> MmsInstance:
    """The instance, serving."""
    instance.wait_for_ping()
    return instance


def test_ping_is_refused_then_503_until_the_model_has_generated(running: MmsInstance) -> None:
    assert running.seen_at_start == {0, 503, 200}
    assert running.events("ready")


def test_generates_and_uploads(running: MmsInstance) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 53, "seed": 7}}
    answer = running.client.invoke(body, X_Amzn_SageMaker_Inference_Id="mms-1")
    assert answer.status == 200, answer.body
    assert answer.json["generated_outputs_s3"] == ["s3://out/audio/mms-1/musicgen_small_mms-1_0.wav"]
    assert answer.json["durations"] == [1.0]


def test_answers_with_audio(running: MmsInstance) -> None:
    answer = running.client.invoke({"texts": ["a"], "generation_params": {"max_new_tokens": 13}}, Accept="audio/wav")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert len(answer.body) == 44 + 2 * 6400


def test_refuses_a_bad_request_in_one_sentence(running: MmsInstance) -> None:
    answer = running.client.invoke({"texts": []})
    sentence = "texts must be an array of 1 to 16 strings, got an array of 0 items"
    assert (answer.status, answer.json) == (422, {"error": sentence})


def test_four_requests_at_once_run_together(running: MmsInstance) -> None:
    answers: list[HttpAnswer] = []
    body = {"texts": ["calm piano"], "generation_params": {"duration": 10}}
    threads = [threading.Thread(target=lambda: answers.append(running.client.invoke(body))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [answer.status for answer in answers] == [200] * 4
    assert max(answer.json["clips_in_flight"] for answer in answers) > 1


def test_a_killed_worker_comes_back_by_itself_and_says_503_while_it_loads(running: MmsInstance) -> None:
    starts = running.events("start")[-1]["starts"]
    running.kill_worker()
    assert running.wait_for_ping() == {0, 503, 200}
    assert running.events("start")[-1]["starts"] == starts + 1
    assert running.client.invoke(SHORT).status == 200


def test_multi_model_servers_own_port_points_to_the_containers(running: MmsInstance) -> None:
    answer = running.supervisor.invoke({"texts": ["a"]})
    assert (answer.status, answer.body) == (404, b"requests go to /invocations of the container's port")


def test_without_its_python_parent_the_worker_serves_on_and_its_end_closes_the_port(
    tmp_path: Path, staged_musicgen: Path, s3_address: str
) -> None:
    own = MmsInstance(tmp_path, staged_musicgen, s3_address)
    try:
        parent = own.worker.parent()
        assert isinstance(parent, psutil.Process)
        parent.kill()
        assert own.client.invoke(SHORT).status == 200
        own.kill_worker()
        assert own.wait_for_ping(0) <= {0, 200}  # nothing restarts it: SageMaker sees a dead container and replaces it
        with pytest.raises(ConnectionError):
            own.client.invoke(SHORT)
    finally:
        own.stop()


def test_a_bundle_that_cannot_load_never_says_that_it_is_ready(
    tmp_path: Path, staged_musicgen: Path, s3_address: str
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in staged_musicgen.iterdir():
        if file.name != "model.safetensors":
            (broken / file.name).symlink_to(file.resolve())
    base = tmp_path / "base"
    base.mkdir()
    own = MmsInstance(base, broken, s3_address, ready=False)
    try:
        own.wait_for_ping(503)
        own.wait_for_event("start_failed")
        assert 200 not in own.wait_for_ping(0)
        (failed, *_) = own.events("start_failed")
        assert "must hold model*.safetensors, got none" in failed["error"]
    finally:
        own.stop()
