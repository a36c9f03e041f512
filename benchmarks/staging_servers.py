"""The Hub and S3 of the staging benchmark, on loopback with TLS, in their own process.

`python staging_servers.py <folder> <MiB>` prints one JSON line of addresses, then serves until its input ends.
"""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from local_aws.emulator.certificates import make_certificates
from tests.stage_model.fakes.hub import LoopbackHub, Repository
from tests.stage_model.fakes.s3 import LoopbackS3

REVISION = "a" * 40
MODEL_ID = "facebook/musicgen-bench"


def weights(mib: int) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]:
    """Return weights of about `mib` MiB in MusicGen's proportions: four fifths a decoder published from fp16."""
    rng = np.random.default_rng(1)
    rows, made = 2048, dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]()
    for number in range(mib // 16):
        values = rng.standard_normal((rows, 2048), dtype="f4") * np.float32(0.02)
        decoder = number % 5 != 0
        name = f"decoder.layers.{number}.fc1.weight" if decoder else f"text_encoder.block.{number}.wi.weight"
        made[name] = values.astype("f2").astype("f4") if decoder else values
    return made


def main() -> None:
    """Serve until standard input ends."""
    folder, mib = Path(sys.argv[1]), int(sys.argv[2])
    certificates = make_certificates(folder)
    data = save(weights(mib))
    files = {"config.json": json.dumps({"model_type": "musicgen", "dtype": "float32"}).encode()}
    repository = Repository(MODEL_ID, REVISION, files, {"model.safetensors": data})
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("inference.py", "model_fn = None\n")
    tls = certificates.server_context()
    with LoopbackHub(repository, tls=tls) as hub, LoopbackS3(tls) as s3:
        s3.objects["assets/bundle.zip"] = bundle.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        addresses = {"hub": hub.url, "s3": s3.url, "authority": str(certificates.authority), "sha256": sha256}
        print(json.dumps({**addresses, "bytes": len(data)}), flush=True)
        for line in sys.stdin:  # "check" verifies and discards the last staged object
            print(check(s3, repository) if line.strip() == "check" else "", flush=True)


def check(s3: LoopbackS3, repository: Repository) -> str:
    """Return "yes" if the only staged tarball holds every published value, and discard all that was written."""
    import tarfile

    from safetensors.numpy import load

    staged = [data for key, data in s3.objects.items() if key.endswith("model.tar.gz")]
    s3.objects = {key: data for key, data in s3.objects.items() if key.startswith("assets/")}
    answer = "no"
    with tarfile.open(fileobj=io.BytesIO(staged[0]), mode="r|gz") as archive:
        for member in archive:
            if member.name == "model.safetensors" and (file := archive.extractfile(member)) is not None:
                got, want = load(file.read()), load(repository.lfs["model.safetensors"])
                same = got.keys() == want.keys() and all(
                    np.array_equal(got[name].astype("<f4").view("<u4"), want[name].view("<u4")) for name in want
                )
                answer = "yes" if same else "no"
    return answer


if __name__ == "__main__":
    main()
