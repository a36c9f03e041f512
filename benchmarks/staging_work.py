# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.
"""Stage one model in its own process, so that CPU time and memory can be measured from outside.

`python staging_work.py default|level0|ours|ours-float16|ceiling <model id> <commit> <folder>`; endpoints and the
size in bytes in the environment.
Prints the CPU seconds (user and system) of the staging alone, without Python's start-up.
"""

import hashlib
import os
import shutil
import ssl
import sys
import tarfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import boto3

from local_aws.emulator.certificates import make_certificates
from stage_model.handler import handler
from stage_model.upload.hashing import crc32

BUCKET = "artifacts"


def main() -> None:
    """Stage once, by the method in the first argument."""
    method, model_id, revision, folder = sys.argv[1:]
    if method == "ceiling":
        print(compute_only(int(os.environ["MODEL_BYTES"]), Path(folder)))
        return
    start = time.process_time()
    if method.startswith("ours"):
        run_handler(model_id, revision, "float16" if method.endswith("float16") else "float32")
    else:
        stage_on_disk(
            model_id, revision, Path(folder), level=9 if method == "default" else 0, verify=method == "level0"
        )
    print(time.process_time() - start)


def stage_on_disk(model_id: str, revision: str, folder: Path, level: int, verify: bool) -> None:
    """Download, `tarfile`, upload: the obvious implementation. 9 is tarfile's default level."""
    source = f"{os.environ['HF_ENDPOINT']}/{model_id}/resolve/{revision}/"
    files = [folder / name for name in ("config.json", "model.safetensors")]
    for file in files:
        download(source + file.name, file, verify)
    archive = folder / "model.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=level) as tar:
        for file in files:
            tar.add(file, file.name)
    boto3.client("s3").upload_file(str(archive), BUCKET, "baseline/model.tar.gz")


def download(url: str, target: Path, verify: bool) -> None:
    """Download a file; with `verify`, compare its SHA-256, as staging does."""
    with urllib.request.urlopen(url, context=ssl.create_default_context()) as response, target.open("wb") as file:
        shutil.copyfileobj(response, file)
    expected = os.environ.get(f"SHA256_{target.stem.upper()}")
    if verify and expected is not None:
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected:
            raise ValueError(f"{target.name} must have SHA-256 {expected}, got {digest}")


def compute_only(total: int, folder: Path) -> float:
    """Return the CPU seconds for what staging cannot avoid, without sockets, tar or threads.

    All bytes pass once through SHA-256, AES-GCM in TLS records of 16 KiB in both directions, and CRC-32.
    """
    certificates = make_certificates(folder)
    client_context = ssl.create_default_context(cafile=str(certificates.authority))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = certificates.server_context().wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):  # hello, hello and certificate, finished, finished
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    part, received = memoryview(bytearray(os.urandom(8 << 20))), memoryview(bytearray(8 << 20))
    sha256, crc, record = hashlib.sha256(), 0, 16 << 10
    start = time.process_time()
    for at in range(0, total, len(part)):
        part = part[: total - at]
        for first in range(0, len(part), record):
            piece = part[first : first + record]
            client.write(piece)
            server.read(len(piece), received[first:])
        sha256.update(received[: len(part)])
        crc = crc32([received[: len(part)]], crc)
    cpu_s = time.process_time() - start
    if received[: len(part)] != part:
        raise RuntimeError("the bytes received must be those sent")
    return cpu_s


class LambdaContext:
    """The part of Lambda's context object that the handler uses."""

    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:stage"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def run_handler(model_id: str, revision: str, dtype: str) -> None:
    properties = {
        "ModelId": model_id, "Revision": revision, "DecoderDtype": dtype, "CodeBucket": "assets",
        "CodeKey": "bundle.zip", "ModelBucket": BUCKET, "KeyPrefix": "models/Bench/StagedModel/",
    }  # fmt: skip
    event = {
        "RequestType": "Create", "ResponseURL": os.environ["RESPONSE_URL"], "StackId": "stack",
        "RequestId": os.urandom(8).hex(), "LogicalResourceId": "StagedModel", "ResourceProperties": properties,
    }  # fmt: skip
    handler(event, LambdaContext())


if __name__ == "__main__":
    main()
