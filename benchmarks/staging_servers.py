"""The Hub and S3 of the staging benchmark, on loopback with TLS, in their own process.

`python staging_servers.py <folder> <MiB>` prints one JSON line of addresses, then serves until its input ends.
"""

import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from local_aws.emulator.certificates import make_certificates
from local_aws.hub import LoopbackHub, Repository
from tests.stage_model.fakes.s3 import LoopbackS3

REVISION = "a" * 40
MODEL_ID = "facebook/musicgen-bench"


def make_weights(mib: int) -> dict[str, NDArray[np.float32]]:
    """Return weights of about `mib` MiB in MusicGen's proportions: four fifths a decoder published from fp16."""
    rng = np.random.default_rng(1)
    weights: dict[str, NDArray[np.float32]] = {}
    for number in range(mib // 16):
        values = rng.standard_normal((2048, 2048), dtype="f4") * np.float32(0.02)
        if number % 5 == 0:
            weights[f"text_encoder.block.{number}.wi.weight"] = values
        else:
            weights[f"decoder.layers.{number}.fc1.weight"] = values.astype("f2").astype("f4")
    return weights


def main() -> None:
    """Serve until standard input ends."""
    folder, mib = Path(sys.argv[1]), int(sys.argv[2])
    certificates = make_certificates(folder)
    repository = Repository(MODEL_ID, REVISION, {"config.json": b'{"model_type": "musicgen", "dtype": "float32"}'})
    repository.write("model.safetensors", save(make_weights(mib)))
    weights = repository.files["model.safetensors"]
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("inference.py", "model_fn = None\n")
    tls = certificates.server_context()
    with LoopbackHub(repository, tls=tls) as hub, LoopbackS3(tls) as s3:
        s3.objects["assets/bundle.zip"] = bundle.getvalue()
        addresses = {"hub": hub.url, "s3": s3.url, "authority": str(certificates.authority)}
        print(json.dumps({**addresses, "sha256": weights.sha256, "bytes": weights.size}), flush=True)
        for line in sys.stdin:  # "check" verifies and discards the last staged object
            print(check(s3, repository) if line.strip() == "check" else "", flush=True)


def check(s3: LoopbackS3, repository: Repository) -> str:
    """Return "yes" if the only staged tarball holds every published value, and discard all that was written."""
    (staged,) = [data for key, data in s3.objects.items() if key.endswith("model.tar.gz")]
    s3.objects = {key: data for key, data in s3.objects.items() if key.startswith("assets/")}
    with tarfile.open(fileobj=io.BytesIO(staged), mode="r|gz") as archive:
        for member in archive:
            if member.name == "model.safetensors" and (file := archive.extractfile(member)) is not None:
                got, want = load(file.read()), load(repository.read("model.safetensors"))
                same = got.keys() == want.keys() and all(
                    np.array_equal(got[name].astype("<f4").view("<u4"), want[name].view("<u4")) for name in want
                )
                return "yes" if same else "no"
    return "no"


if __name__ == "__main__":
    main()
