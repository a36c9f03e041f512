"""A staged model's manifest, the path that serves it, and the S3 client that uploads its clips."""
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

import io
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from musicgen_serving.audio_output import FORMATS
from musicgen_serving.audio_upload import UPLOADS_TOGETHER, AudioStore
from musicgen_serving.engine.model.cpu_matrices import Float16Matrix
from musicgen_serving.model_loading import Checkpoint, load_model, read_checkpoint, s3_client
from musicgen_serving.settings import Settings

# Of a hosted container's variables SageMaker documents none that names the region. The keys stand for the address of
# the execution role's credentials.
HOSTING = {"SAGEMAKER_BIND_TO_PORT": "8080", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


@pytest.fixture
def hosting_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Exactly the environment of a hosted container; tests add what the stack sets."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in {**HOSTING, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_reads_the_manifest(staged_musicgen: Path) -> None:
    checkpoint = read_checkpoint(staged_musicgen)
    assert (checkpoint.model_id, checkpoint.size) == ("facebook/musicgen-small", "small")
    assert len(checkpoint.revision) == 40


@pytest.mark.parametrize(("given", "expected"), [("CC-BY-NC-4.0 (model weights)",) * 2, (None, ""), ({"a": 1}, "")])
def test_reads_the_licence_that_tags_name(tmp_path: Path, given: object, expected: str) -> None:
    manifest = {"layout": 1, "model_id": "a/b", "revision": "c", "license": given}
    (tmp_path / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert read_checkpoint(tmp_path).license == expected


@pytest.mark.parametrize(
    ("model_id", "size"),
    [("facebook/musicgen-stereo-large", "stereo-large"), ("me/My_Model/x", "x"), ("me/My_Model", "my-model")],
)
def test_derives_the_size_from_the_models_name(model_id: str, size: str) -> None:
    assert Checkpoint(Path(), model_id, "").size == size


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"layout": 2}, "must have layout 1, got 2"),
        ({"layout": 1, "model_id": ""}, "must have a string model_id, got ''"),
        ({"layout": 1, "model_id": "a/b"}, "must have a string revision, got None"),
    ],
)
def test_rejects_an_invalid_manifest(tmp_path: Path, manifest: dict[str, Any], message: str) -> None:
    (tmp_path / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path)


def test_rejects_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no musicgen-manifest\.json; it is not a staged model"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "s3.us-east-1.amazonaws.com"),
        ("eu-central-1", "s3.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_uploads_to_the_regions_own_endpoint(hosting_environment: pytest.MonkeyPatch, region: str, host: str) -> None:
    hosting_environment.setenv("AWS_DEFAULT_REGION", region)
    client, urls = s3_client(10), list[str]()

    def record(request: Any, **_: Any) -> AWSResponse:
        urls.append(request.url)
        return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(io.BytesIO(), preload_content=False))

    client.meta.events.register("before-send.s3.PutObject", record)
    AudioStore(client, ("out",)).put("out", "a.wav", b"", "audio/wav")
    assert urls == [f"https://out.{host}/a.wav"]


@pytest.mark.parametrize("others", [{}, {"AWS_REGION": "eu-central-1"}])
def test_refuses_to_start_without_a_region(hosting_environment: pytest.MonkeyPatch, others: dict[str, str]) -> None:
    for name, value in others.items():
        hosting_environment.setenv(name, value)
    with pytest.raises(ValueError, match="AWS_DEFAULT_REGION must be set in the container's environment"):
        s3_client(10)


def test_uploads_of_all_concurrent_requests_reuse_their_connections(
    hosting_environment: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """44 at once: 11 requests with four uploads each. urllib3 warns for each connection that it cannot keep."""
    hosting_environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    accepted: list[socket.socket] = []

    class S3(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            arrived.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def get_request(self) -> tuple[socket.socket, Any]:
            client, address = super().get_request()
            accepted.append(client)
            return client, address

    uploads = 11 * UPLOADS_TOGETHER
    arrived = threading.Barrier(uploads)
    with Server(("127.0.0.1", 0), S3) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hosting_environment.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        store = AudioStore(s3_client(uploads), ("bucket",))

        def upload(key: int) -> str:
            return store.put("bucket", str(key), b"RIFF", "audio/wav")

        with ThreadPoolExecutor(uploads) as pool:
            for _ in range(2):
                list(pool.map(upload, range(uploads)))
        server.shutdown()
    assert len(accepted) == uploads
    assert "pool is full" not in caplog.text


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("wrong", [False, True])
def test_a_loaded_model_publishes_whether_a_slower_path_serves(
    wrong: bool, staged_musicgen: Path, memory_log: Any, hosting_environment: pytest.MonkeyPatch
) -> None:
    hosting_environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    if wrong:
        hosting_environment.setattr(Float16Matrix, "product", lambda self, x: torch.zeros(len(x), self.shape[0]))
    settings = Settings(output_bucket="out", device="cpu", endpoint="musicgen-dev")
    load_model(staged_musicgen, settings, memory_log.log).generator.close()
    (formats,) = memory_log.events("audio_formats")
    assert (formats["writable"], formats["missing"]) == (list(FORMATS), {})
    (line,) = memory_log.events("path")
    assert (line["step"], line["launch"], line["replaced"]) == ("torch", "eager", ["matrices"] * wrong)
    assert line["SlowPath"] == wrong and line["EndpointName"] == "musicgen-dev"
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive == {"Namespace": "MusicGen", "Dimensions": [["EndpointName"]], "Metrics": [{"Name": "SlowPath"}]}


def test_publishes_no_metric_without_an_endpoint(memory_log: Any) -> None:
    memory_log.log.metric("path", "SlowPath", 0, None)
    (line,) = memory_log.events("path")
    assert set(line) == {"time", "event", "SlowPath"}
