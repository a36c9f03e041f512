"""The loopback Hub, through Hugging Face's client and through plain HTTP."""

# pyright: reportUnknownVariableType=false
# (huggingface_hub types its download helper in part)

import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from local_aws.emulator.certificates import make_certificates
from local_aws.hub import HubRequest, LoopbackHub, Reply, Repository

MODEL, COMMIT = "facebook/musicgen-small", "ab" * 20
WEIGHTS = bytes(range(256)) * 4096
CONFIG = b'{"model_type": "musicgen"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "sub" / "notes.txt").write_text("deep")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def repository(folder: Path) -> Repository:
    return Repository.from_folder(folder, model_id=MODEL, revision=COMMIT)


@pytest.fixture
def hub(repository: Repository) -> Iterator[LoopbackHub]:
    with LoopbackHub(repository) as hub:
        yield hub


def fetch(
    url: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body, without following redirects."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def file_url(hub: LoopbackHub, name: str = "model.safetensors") -> str:
    return f"{hub.url}/{MODEL}/resolve/{COMMIT}/{name}"


def test_huggingface_client_lists_sizes_and_checksums(hub: LoopbackHub) -> None:
    info = HfApi(endpoint=hub.url).model_info(MODEL, revision=COMMIT, files_metadata=True)
    assert info.sha == COMMIT
    files: dict[str, Any] = {file.rfilename: file for file in info.siblings or []}
    assert set(files) == {"config.json", "model.safetensors", "sub/notes.txt"}
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert files["model.safetensors"].lfs.size == files["model.safetensors"].size == len(WEIGHTS)
    assert files["config.json"].lfs is None
    git = subprocess.run(["git", "hash-object", "--stdin"], input=CONFIG, capture_output=True, check=True)
    assert files["config.json"].blob_id == git.stdout.decode().strip()


@pytest.mark.parametrize(("name", "content"), [("config.json", CONFIG), ("model.safetensors", WEIGHTS)])
def test_huggingface_client_downloads_a_file(hub: LoopbackHub, tmp_path: Path, name: str, content: bytes) -> None:
    path = hf_hub_download(MODEL, name, revision=COMMIT, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == content


def test_listing_without_blobs_names_files_only(hub: LoopbackHub) -> None:
    status, _, body = fetch(f"{hub.url}/api/models/{MODEL}/revision/main")
    assert status == 200
    assert json.loads(body)["sha"] == COMMIT
    assert {"rfilename": "config.json"} in json.loads(body)["siblings"]


def test_large_file_redirects_to_a_second_origin_that_serves_ranges(hub: LoopbackHub) -> None:
    status, headers, _ = fetch(file_url(hub), method="HEAD")
    assert status == 302
    assert headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert headers["X-Linked-ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert headers["X-Repo-Commit"] == COMMIT
    assert headers["Location"].startswith(hub.cdn_url)
    assert urlsplit(hub.cdn_url).netloc != urlsplit(hub.url).netloc
    status, headers, body = fetch(headers["Location"], {"Range": "bytes=10-265"})
    assert status == 206
    assert headers["Content-Range"] == f"bytes 10-265/{len(WEIGHTS)}"
    assert body == WEIGHTS[10:266]


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=5-", 206, CONFIG[5:]),
        ("bytes=-4", 206, CONFIG[-4:]),
        ("bytes=0-999", 206, CONFIG),
        ("bytes=0-0", 206, CONFIG[:1]),
        ("bytes=1-2,4-5", 200, CONFIG),
        ("lines=1-2", 200, CONFIG),
    ],
)
def test_range_returns_exactly_the_requested_bytes(hub: LoopbackHub, header: str, status: int, expected: bytes) -> None:
    got, _, body = fetch(file_url(hub, "config.json"), {"Range": header})
    assert (got, body) == (status, expected)


def test_range_beyond_the_end_answers_416(hub: LoopbackHub) -> None:
    status, headers, _ = fetch(file_url(hub, "config.json"), {"Range": "bytes=1000-"})
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(CONFIG)}")


def test_if_match_with_another_etag_answers_412(hub: LoopbackHub) -> None:
    _, headers, _ = fetch(file_url(hub, "config.json"))
    assert fetch(file_url(hub, "config.json"), {"If-Match": headers["ETag"]})[0] == 200
    assert fetch(file_url(hub, "config.json"), {"If-Match": '"other"'})[0] == 412


def test_signed_url_expires_with_time_and_on_demand(repository: Repository) -> None:
    now = [1_000_000.0]
    with LoopbackHub(repository, signed_seconds=60, clock=lambda: now[0]) as hub:
        location = fetch(file_url(hub))[1]["Location"]
        assert fetch(location)[0] == 200
        now[0] += 61
        assert fetch(location)[0] == 403
        location = fetch(file_url(hub))[1]["Location"]
        assert fetch(location)[0] == 200
        hub.signer.expire_all()
        assert fetch(location)[0] == 403


def test_forged_signature_and_leaked_token_are_refused(hub: LoopbackHub) -> None:
    location = fetch(file_url(hub))[1]["Location"]
    later = location.replace("Expires=", "Expires=9")
    assert fetch(later)[0] == 403
    assert fetch(location, {"Authorization": "Bearer hub-token"})[0] == 400


def test_unknown_names_return_the_hubs_error_codes(hub: LoopbackHub, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.url)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("facebook/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(MODEL, revision="cd" * 20)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(MODEL, "absent.bin", revision=COMMIT, endpoint=hub.url, cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["../config.json", "%2e%2e/model/config.json", "sub/../config.json", "/etc/passwd"])
def test_path_outside_the_listing_is_not_found(hub: LoopbackHub, name: str) -> None:
    status, headers, _ = fetch(file_url(hub, name))
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_gated_model_needs_its_token(repository: Repository, tmp_path: Path) -> None:
    with LoopbackHub(repository, token="right") as hub:
        with pytest.raises(GatedRepoError):
            hf_hub_download(MODEL, "config.json", revision=COMMIT, endpoint=hub.url, cache_dir=tmp_path / "a")
        assert fetch(file_url(hub))[0] == 401
        assert fetch(file_url(hub), {"Authorization": "Bearer wrong"})[0] == 403
        path = hf_hub_download(
            MODEL, "model.safetensors", revision=COMMIT, endpoint=hub.url, cache_dir=tmp_path / "b", token="right"
        )
        assert Path(path).read_bytes() == WEIGHTS


def test_hook_changes_replies_and_requests_are_recorded(hub: LoopbackHub) -> None:
    url = file_url(hub, "config.json")

    def fetch_with(change: Callable[[Reply], Reply]) -> tuple[int, http.client.HTTPMessage, bytes]:
        def hook(request: HubRequest, reply: Reply) -> Reply:
            return change(reply)

        hub.on_reply = hook
        return fetch(url)

    status, headers, _ = fetch_with(lambda reply: Reply(429, {"Retry-After": "7"}))
    assert (status, headers["Retry-After"]) == (429, "7")
    assert fetch_with(lambda reply: replace(reply, body=reply.body[::-1]))[2] == CONFIG[::-1]
    assert fetch_with(lambda reply: replace(reply, headers={"ETag": '"changed"'}))[1]["ETag"] == '"changed"'
    with pytest.raises(http.client.IncompleteRead) as broken:
        fetch_with(lambda reply: replace(reply, truncate_to=5))
    assert broken.value.partial == CONFIG[:5]
    hub.on_reply = None
    assert fetch(url)[2] == CONFIG
    path = urlsplit(url).path
    assert hub.requests == [HubRequest("hub", "GET", f"{path}?", request.headers) for request in hub.requests]
    assert [request.path for request in hub.requests] == [path] * 5


def test_file_written_while_the_hub_serves_is_served(hub: LoopbackHub) -> None:
    hub.repository.write("config.json", b"new")
    hub.repository.write("notes.bin", b"small", lfs=False)
    assert (fetch(file_url(hub, "config.json"))[2], hub.repository.read("config.json")) == (b"new", b"new")
    assert fetch(file_url(hub, "notes.bin"))[2] == b"small"


def test_serves_over_tls(repository: Repository, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificates.authority))
    with LoopbackHub(repository, tls=certificates.server_context()) as hub:
        with urllib.request.urlopen(file_url(hub), context=trust, timeout=10) as response:  # follows the redirect
            assert response.read() == WEIGHTS
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            urllib.request.urlopen(file_url(hub), timeout=10)


@pytest.mark.parametrize(
    ("model_id", "revision", "message"),
    [
        (MODEL, "main", "revision must be 40 hexadecimal digits, got 'main'"),
        ("musicgen", COMMIT, "model_id must be <organisation>/<name>, got 'musicgen'"),
    ],
)
def test_invalid_model_id_or_revision_is_refused(model_id: str, revision: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Repository(model_id, revision)


def test_command_line_serves_until_terminated(folder: Path, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    state = tmp_path / "state"
    words = ["--folder", str(folder), "--model-id", MODEL, "--revision", COMMIT, "--state", str(state)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "local")}
    process = subprocess.Popen([sys.executable, "-m", "local_aws.hub", *words], env=environment)
    try:
        eventually(lambda: (state / "hub.json").exists())
        url = json.loads((state / "hub.json").read_text())["url"]
        assert fetch(f"{url}/{MODEL}/resolve/main/config.json")[2] == CONFIG
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
