"""An account for the sample's deploying notebook, whose instances find a Hub and the packages that they install."""

import json
import zipfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from local_aws.emulator.process import LocalAws
from local_aws.hub.repository import Repository
from local_aws.hub.server import LoopbackHub
from local_aws.walkthrough.toy_model import toy_model

# The notebook asks IAM for this role where the SDK finds none, as outside of SageMaker Studio.
_ROLE = "sagemaker_execution_role"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@contextmanager
def sample_account(folder: Path, wheels: Path | None, placeholders: Iterable[str] = ()) -> Generator[LocalAws]:
    """Run an embedded AWS and a Hub that serves the toy model as facebook/musicgen-large; yield the AWS.

    With `wheels`, instances install packages only from that folder, and of `placeholders` (`name==version`) none of
    their modules: for packages too large to install, where the version that instances share with this machine will do.
    Without it they install as pip is configured on this machine.
    """
    with LoopbackHub(_repository()) as hub:
        environment = {"HF_ENDPOINT": hub.url}
        if wheels:
            empty = folder / "placeholders"
            _write_placeholders(empty, placeholders)
            environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{wheels.absolute()} {empty.absolute()}"}
        with LocalAws(folder / "aws", instance_environment=environment) as aws:
            _create_role(aws)
            yield aws


def _repository() -> Repository:
    """Return the toy model in the form of the published repositories, which transformers 4 wrote and reads."""
    toy = toy_model()
    repository = Repository.from_folder(toy.folder, model_id=toy.model_id, revision=toy.revision)
    files: dict[str, Any] = {name: json.loads(repository.read(name)) for name in repository.files if ".json" in name}
    processor = files.pop("processor_config.json")
    del repository.files["processor_config.json"]
    files["preprocessor_config.json"] = processor["feature_extractor"] | {
        "processor_class": processor["processor_class"]
    }
    files["tokenizer_config.json"] |= {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    files["tokenizer.json"] = _older_form(files["tokenizer.json"])
    # Four codebooks: it counts 10 bits for each, however large it is.
    files["config.json"]["audio_encoder"]["target_bandwidths"] = [2.2]
    for name, content in files.items():
        repository.write(name, json.dumps(content).encode())
    return repository


def _older_form(part: Any) -> Any:
    """Return a tokenizer's description with the field that tokenizers 0.15 needs in each Metaspace."""
    if isinstance(part, list):
        return [_older_form(item) for item in cast(list[Any], part)]
    if not isinstance(part, dict):
        return part
    described = {name: _older_form(value) for name, value in cast(dict[str, Any], part).items()}
    return described | {"add_prefix_space": True} if described.get("type") == "Metaspace" else described


def _create_role(aws: LocalAws) -> None:
    bucket = f"arn:aws:s3:::sagemaker-{aws.region}-{aws.account_id}"  # the SDK's default bucket
    statements = [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"{bucket}/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
        {
            "Effect": "Allow",
            "Action": "sns:Publish",
            "Resource": f"arn:aws:sns:{aws.region}:{aws.account_id}:musicgen-*",
        },
        {"Effect": "Allow", "Action": ["logs:*", "cloudwatch:PutMetricData"], "Resource": "*"},
    ]
    iam = aws.client("iam")
    iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=_ROLE, PolicyName="sample", PolicyDocument=policy)


def _write_placeholders(folder: Path, requirements: Iterable[str]) -> None:
    """Write a wheel without any module for each: pip installs it, and imports find what is there."""
    folder.mkdir(parents=True)
    for requirement in requirements:
        name, _, version = requirement.partition("==")
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
