"""The embedded AWS as a process: its files, its port, its environment, and that all its processes end."""

import argparse
import contextlib
import http.client
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_aws.emulator import process
from local_aws.emulator.environment import add_instance_environment, tool_environment
from local_aws.emulator.moto_changes.moto_patches import check_moto_version
from local_aws.emulator.process import LocalAws

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def sleeping_function(aws: LocalAws) -> None:
    """Start a Lambda that is still running when the server ends."""
    import io
    import zipfile

    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", "import time\ndef handler(event, context): time.sleep(300)\n")
    functions = aws.client("lambda")
    code = {"ZipFile": archive.getvalue()}
    functions.create_function(
        FunctionName="f", Runtime="python3.14", Handler="index.handler", Role=role, Code=code, Timeout=300
    )
    functions.invoke(FunctionName="f", InvocationType="Event", Payload=b"{}")


def running_function(aws: LocalAws) -> int:
    """Return the process id of the running Lambda."""
    registry, deadline = aws.state_dir / "children", time.monotonic() + 20
    while not (registry.is_dir() and list(registry.iterdir())):
        assert time.monotonic() < deadline, "the function must start"
        time.sleep(0.05)
    return int(next(registry.iterdir()).name)


def wait_until_gone(pid: int, timeout_seconds: float) -> bool:
    """Return whether process `pid` ends within `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while psutil.pid_exists(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_listens_on_loopback_over_tls_and_ends_with_its_lambdas(tmp_path: Path) -> None:
    with LocalAws(tmp_path / "aws") as aws:
        server = psutil.Process(aws.pid)
        sleeping_function(aws)
        function = running_function(aws)
        listening = [item.laddr.ip for item in server.net_connections("tcp") if item.status == psutil.CONN_LISTEN]
        assert set(listening) == {"127.0.0.1"}
        assert aws.endpoint_url.startswith("https://127.0.0.1:")
        key = (tmp_path / "aws" / "server.key").stat()
        assert stat.S_IMODE(key.st_mode) == 0o600
    assert not psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(function)


def test_a_connection_serves_one_request_after_another(aws: LocalAws) -> None:
    """Whatever a request or its answer consists of, the next request is read from its first byte."""
    bucket, path = presigned_paths(aws)
    port = int(aws.endpoint_url.rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(aws.ca_bundle))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    connection.connect()
    kept, found = connection.sock, list[tuple[int, bytes]]()
    for method, target, body, headers in (
        ("PUT", path("put_object", "whole"), b"x" * 100_000, {"Expect": "100-continue"}),
        ("PUT", path("put_object", "chunked"), iter([b"in", b"chunks"]), {}),
        ("PUT", f"/{bucket}/denied", b"a body that the refusal does not need", {}),
        ("HEAD", path("head_object", "whole"), None, {}),
        ("GET", path("get_object", "chunked"), None, {}),
        ("DELETE", path("delete_object", "chunked"), None, {}),
        ("GET", path("get_object", "chunked"), None, {}),
        ("GET", path("get_object", "whole"), None, {"Connection": "close"}),
    ):
        connection.request(method, target, body=body, headers=headers)
        answer = connection.getresponse()
        found.append((answer.status, answer.read()))
        assert method != "HEAD" or answer.headers["Content-Length"] == "100000"
        assert connection.sock is (None if "Connection" in headers else kept)
    connection.close()
    assert [status for status, _ in found] == [200, 200, 403, 200, 200, 204, 404, 200]
    assert (found[3][1], found[4][1], found[7][1]) == (b"", b"inchunks", b"x" * 100_000)


def test_a_request_that_breaks_off_changes_nothing(aws: LocalAws) -> None:
    bucket, path = presigned_paths(aws)
    target = path("put_object", "half").encode()
    with tls_connection(aws) as connection:
        connection.sendall(b"PUT " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        with contextlib.suppress(OSError):
            connection.unwrap()  # says that nothing follows, and waits for the server to end too
    assert aws.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"Content-Length: many\r\n\r\n", b"HTTP/1.1 400 "),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\ntrailer: x\r\n\r\n", b""),
    ],
    ids=["length", "trailer"],
)
def test_a_request_without_a_certain_end_ends_the_connection(
    aws: LocalAws, request_bytes: bytes, answer: bytes
) -> None:
    with tls_connection(aws) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\n" + request_bytes)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert received.startswith(answer)
    assert received.count(b"HTTP/1.1 ") == answer.count(b"HTTP")


def presigned_paths(aws: LocalAws) -> tuple[str, Callable[[str, str], str]]:
    """Create a bucket; return its name and a function from an operation and a key to a presigned URL's path."""
    s3, bucket = aws.client("s3"), f"kept-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)

    def path(operation: str, key: str) -> str:
        url: str = s3.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key})
        return url.removeprefix(aws.endpoint_url)

    return bucket, path


@contextlib.contextmanager
def tls_connection(aws: LocalAws) -> Generator[ssl.SSLSocket]:
    """Connect to the server, for requests that no HTTP client sends."""
    context, port = ssl.create_default_context(cafile=str(aws.ca_bundle)), int(aws.endpoint_url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        yield connection


def test_stop_ends_the_lambdas_of_a_killed_server(tmp_path: Path) -> None:
    aws = LocalAws(tmp_path / "aws").start()
    sleeping_function(aws)
    function = running_function(aws)
    psutil.Process(aws.pid).kill()
    aws.stop()
    assert wait_until_gone(function, 10)


def test_server_ends_when_its_parent_dies(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom local_aws.emulator.process import LocalAws\n"
        "aws = LocalAws(Path(sys.argv[1])).start()\nprint(aws.pid, flush=True)\nos._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(process.__file__).parents[2])}
    command = [sys.executable, "-c", program, str(tmp_path / "aws")]
    started = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert wait_until_gone(int(started.stdout), 20)


def test_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "aws").mkdir()
    (tmp_path / "aws" / "server.pem").mkdir()  # in place of the certificate
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*server\.pem"):
        LocalAws(tmp_path / "aws").start()


def test_refuses_another_version_of_moto() -> None:
    with pytest.raises(RuntimeError, match=r"moto must be 5\.2\.5.*got 5\.2\.6"):
        check_moto_version("5.2.6")


def test_certificate_is_valid_only_with_its_own_authority(aws: LocalAws) -> None:
    port = int(aws.endpoint_url.rpartition(":")[2])
    trusting, strange = ssl.create_default_context(cafile=str(aws.ca_bundle)), ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", port)) as raw, trusting.wrap_socket(raw, server_hostname="127.0.0.1"):
        pass
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
        strange.wrap_socket(raw, server_hostname="127.0.0.1"),
    ):
        pass


def test_tool_environment_drops_the_users_aws_settings(tmp_path: Path) -> None:
    own = {
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "real",
        "AWS_ENDPOINT_URL_S3": "https://elsewhere",
        "CDK_DEFAULT_ACCOUNT": "999999999999",
        "PATH": "/usr/bin",
        "HOME": "/home/me",
    }
    made = tool_environment("https://127.0.0.1:1", tmp_path / "a.pem", tmp_path / "t.pem", own)
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"} & set(made)
    assert made["CDK_DEFAULT_ACCOUNT"] == "123456789012"
    assert not Path(made["AWS_CONFIG_FILE"]).exists()
    assert (made["HOME"], made["PATH"].endswith("/usr/bin")) == ("/home/me", True)


def test_unsupported_operation_is_refused_at_once(aws: LocalAws) -> None:
    client: Any = aws.client("cloudtrail")
    with pytest.raises(client.exceptions.ClientError, match="UnsupportedOperationException"):
        client.lookup_events()


def test_instances_variables_are_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="local-aws")
    add_instance_environment(parser)
    given = parser.parse_args(["--instance-env", "A=x=1 y", "--instance-env=B="]).instance_env
    assert dict(given) == {"A": "x=1 y", "B": ""}
    with pytest.raises(SystemExit):
        parser.parse_args(["--instance-env", "A"])
    assert "argument --instance-env: must be NAME=VALUE, not 'A'" in capsys.readouterr().err
