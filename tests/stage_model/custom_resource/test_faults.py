"""Faults over real sockets, each of which must leave the correct object or nothing, and report why.

What one reply of the source can do wrong is in the table of lying sources (`source/test_lying_sources.py`).
"""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stage_model.handler
from local_aws.hub import HubRequest, Reply
from stage_model.handler import handler
from tests.stage_model.fakes.lambda_runner import BUCKET, PREFIX, Lambda, bundle, expire_leases, flipped, on_weights

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scale() -> int:
    """Weights of about 200 kB: several parts."""
    return 30


def test_frequent_errors_of_hub_and_s3_are_retried(aws: Lambda) -> None:
    draw = random.Random(3)
    aws.hub.on_reply = lambda request, reply: Reply(draw.choice([429, 500, 503])) if draw.random() < 0.6 else reply
    aws.s3.fault = lambda method, path: draw.choice([500, 503]) if draw.random() < 0.6 else None
    assert aws.holds_the_model(aws.run())


def test_an_expired_url_is_resolved_again(aws: Lambda) -> None:
    def expire(request: HubRequest, reply: Reply) -> Reply:
        aws.hub.signer.expire_all()
        return reply

    aws.hub.on_reply = on_weights(expire, times=3)
    assert aws.holds_the_model(aws.run())
    assert sum(request.path.endswith("/model.safetensors") for request in aws.hub.requests) >= 4


@pytest.mark.parametrize("status", [503, 500, 0])
def test_failed_part_uploads_are_retried(status: int, aws: Lambda) -> None:
    left = [6]

    def fault(method: str, path: str) -> int | None:
        failing = "partNumber" in path and left[0] > 0
        left[0] -= failing
        return status if failing else None

    aws.s3.fault = fault
    assert aws.holds_the_model(aws.run())


def test_many_short_invocations_send_one_response(aws: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_model.handler, "THREADS", 1)
    aws.end_invocations_after(lambda: 2)
    assert aws.holds_the_model(aws.run())
    assert aws.invocations >= 3 and aws.crashes == 0 and len(aws.sink.responses) == 1


def test_two_runs_of_one_request_end_in_one_object(aws: Lambda) -> None:
    event = aws.event("Create", "r1")
    runs = [threading.Thread(target=handler, args=(event, aws)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert aws.holds_the_model(aws.sink.responses[0])
    assert aws.sink.responses == aws.sink.responses[:1]


@pytest.mark.parametrize("after", range(1, 9))
def test_a_run_killed_at_a_part_is_resumed(after: int, aws: Lambda) -> None:
    killed = threading.Event()
    parts = [0]
    child: list[subprocess.Popen[bytes]] = []

    def fault(method: str, path: str) -> int | None:
        parts[0] += "partNumber" in path and not killed.is_set()
        if parts[0] == after and not killed.is_set():
            killed.set()
            os.kill(child[0].pid, signal.SIGKILL)
        return None

    aws.s3.fault = fault
    event = aws.event("Create", "r1")
    code = (
        "import json,sys; import stage_model.archive.staging_plan as p, stage_model.handler as h;"
        "from stage_model.archive.staging_plan import SizeLimits;"
        "p.SizeLimits=lambda: SizeLimits(part_blocks=1,cast_part_blocks=1); h.THREADS=1;"
        "C=type('C',(),{'get_remaining_time_in_millis':lambda s:120000,'invoked_function_arn':'f'});"
        "input(); h.handler(json.loads(sys.argv[1]), C())"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lambda")}
    child.append(
        subprocess.Popen([sys.executable, "-c", code, json.dumps(event)], stdin=subprocess.PIPE, env=environment)
    )
    child[0].communicate(b"\n", timeout=60)
    assert child[0].returncode == -signal.SIGKILL and not aws.sink.responses
    expire_leases(aws)
    assert aws.holds_the_model(aws.run())


def test_delete_during_create_ends_it_and_leaves_nothing(aws: Lambda) -> None:
    started, resume = threading.Event(), threading.Event()

    def fault(method: str, path: str) -> int | None:
        if "partNumber=2" in path:
            started.set()
            resume.wait(20)
        return None

    aws.s3.fault = fault
    create = threading.Thread(target=handler, args=(aws.event("Create", "r1"), aws))
    create.start()
    assert started.wait(20)
    assert aws.run("Delete", "r2", f"{PREFIX}unstaged")["Status"] == "SUCCESS"
    resume.set()
    create.join(30)
    assert aws.is_empty() and len(aws.sink.responses) == 1


def test_delete_after_a_failure_succeeds(aws: Lambda) -> None:
    del aws.hub.repository.files["model.safetensors"]
    failed = aws.run()
    assert "must hold weights" in failed["Reason"]
    assert aws.run("Delete", "r2", failed["PhysicalResourceId"])["Status"] == "SUCCESS"
    assert aws.is_empty()


def test_another_resources_keys_are_never_deleted(aws: Lambda) -> None:
    foreign = f"{BUCKET}/models/Stack/Other/{'a' * 64}/model.tar.gz"
    aws.s3.objects[foreign] = b"theirs"
    for physical_id in (foreign.removeprefix(f"{BUCKET}/"), f"{PREFIX}../Other/{'a' * 64}/model.tar.gz", "", PREFIX):
        assert aws.run("Delete", f"r{len(aws.sink.responses)}", physical_id)["Status"] == "SUCCESS"
    assert foreign in aws.s3.objects


def test_equal_inputs_are_not_staged_again_and_changed_ones_get_another_key(aws: Lambda) -> None:
    first = aws.run(request="r1")
    parts = sum("partNumber" in request for request in aws.s3.requests)
    assert aws.run("Update", "r2", first["PhysicalResourceId"])["PhysicalResourceId"] == first["PhysicalResourceId"]
    assert sum("partNumber" in request for request in aws.s3.requests) == parts
    aws.s3.objects["assets/bundle.zip"] = bundle({"inference.py": b"model_fn = 1\n"})
    assert aws.run("Update", "r3", first["PhysicalResourceId"])["PhysicalResourceId"] != first["PhysicalResourceId"]


def test_a_gated_model_needs_the_token_which_only_the_hub_receives(
    aws: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.hub.token = "hf_secret-token"
    refused = aws.run(request="r1")
    assert "gated" in refused["Reason"] and "no token is configured" in refused["Reason"] and aws.is_empty()

    def read(arn: str) -> str:
        return "hf_secret-token"

    monkeypatch.setattr("stage_model.handler.read_token", read)
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-abc"
    response = aws.run(request="r2", TokenSecretArn=arn)
    assert aws.holds_the_model(response)
    assert not any("Authorization" in request.headers for request in aws.hub.requests if request.origin == "cdn")
    assert b"hf_secret" not in b"".join(aws.s3.objects.values()) + json.dumps(aws.sink.responses).encode()


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"Revision": "main"}, "Revision must be a commit of 40 hexadecimal digits, got 'main'"),
        ({"Revision": "f" * 40}, "does not exist on the Hub"),
        ({"ModelId": "facebook/unknown"}, "does not exist on the Hub"),
        ({"ModelId": "../../etc"}, "ModelId must be"),
        ({"DecoderDtype": "int4"}, "DecoderDtype must be one of float16, float32, got 'int4'"),
        ({"KeyPrefix": "models/../x/"}, "KeyPrefix must be"),
        ({"CodeKey": "missing.zip"}, "must exist"),
        ({"TokenSecretArn": "hf_token"}, "TokenSecretArn must be the ARN"),
        ({"Packaging": "rar"}, "Packaging must be one of"),
    ],
)
def test_invalid_properties_fail_with_a_reason(properties: dict[str, str], reason: str, aws: Lambda) -> None:
    response = aws.run(**properties)
    assert response["Status"] == "FAILED" and reason in response["Reason"] and aws.is_empty()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"not a zip", "must be a zip file"),
        (bundle({"../evil.py": b""}), "plain and relative"),
        (bundle({"/etc/passwd": b""}), "plain and relative"),
        (bundle({"a\\b.py": b""}), "plain and relative"),
        (bundle({"deep/MANIFEST.json": b"{}"}), "no manifest.json"),
        (bundle({"big": bytes(40 << 20)}, zipfile.ZIP_DEFLATED), "unpack to at most"),
        (bundle({f"f{n}": b"" for n in range(1001)}), "1 to 1000 files"),
    ],
)
def test_invalid_bundles_fail_with_a_reason(code: bytes, reason: str, aws: Lambda) -> None:
    aws.s3.objects["assets/bundle.zip"] = code
    response = aws.run()
    assert response["Status"] == "FAILED" and reason in response["Reason"] and aws.is_empty()


def test_a_torch_file_that_tries_to_execute_is_rejected(aws: Lambda, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    del aws.hub.repository.files["model.safetensors"]
    weights = bundle({"archive/data.pkl": pickle.dumps({"a": Evil()}, 2)})
    aws.hub.repository.write("pytorch_model.bin", weights)
    response = aws.run()
    assert "must call nothing but what rebuilds tensors" in response["Reason"]
    assert aws.is_empty() and not (tmp_path / "executed").exists()


@pytest.mark.parametrize("chunk", range(10))
def test_random_faults_over_real_sockets_never_leave_a_wrong_object(chunk: int, aws: Lambda) -> None:
    for seed in range(chunk * 20, chunk * 20 + 20):
        draw = random.Random(seed)
        odds = {kind: draw.choice([0, 0, 0.1, 0.4]) for kind in ("truncate", "busy", "flip", "s3", "break", "lost")}
        aws.hub.on_reply = on_weights(lambda s, r, d=draw, o=odds: _faulty(d, o, s, r))
        aws.s3.fault = lambda m, p, d=draw, o=odds: (
            503 if d.random() < o["s3"] else 0 if d.random() < o["break"] / 4 and "partNumber" in p else None
        )
        aws.s3.drops_reply = lambda m, p, d=draw, o=odds: d.random() < o["lost"] / 2
        aws.end_invocations_after(lambda d=draw: d.randrange(1, 9), times=draw.choice([0, 0, 1, 3]))
        response = aws.run(request=f"seed{seed}", Packaging=draw.choice(["tarball", "uncompressed"]))
        aws.hub.on_reply = aws.s3.fault = aws.s3.drops_reply = aws.s3.on_reply = None
        correct = aws.holds_the_model(response) if response["Status"] == "SUCCESS" else aws.is_empty()
        assert correct, f"seed {seed}: {response}"
        assert response["Status"] == "SUCCESS" or odds["flip"], f"seed {seed}: {response}"
        aws.s3.objects = {key: data for key, data in aws.s3.objects.items() if key.startswith("assets/")}


def _faulty(draw: random.Random, odds: Mapping[str, float], request: HubRequest, reply: Reply) -> Reply:
    if draw.random() < odds["busy"]:
        return Reply(draw.choice([429, 500, 503]))
    if draw.random() < odds["flip"] / 10:
        return flipped(request, reply)
    return replace(reply, truncate_to=draw.randrange(len(reply.body))) if draw.random() < odds["truncate"] else reply
