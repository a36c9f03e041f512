"""The command line, the table, the prices, and the page's policy against the embedded AWS."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu.roofline import clip_seconds
from infra.config import from_context
from infra.config.images import image_uri
from infra.config.models import SERVED_MODELS, find_model
from local_aws.emulator.process import LocalAws
from local_aws.hub import LoopbackHub, Repository
from preflight.__main__ import main
from preflight.cost import cost_lines
from preflight.report import ACTIONS, as_json, as_table, exit_code, failed, passed, unknown
from tests.preflight.account import COMMIT, MANIFEST, REGION, Account, PrivateNetwork, deploy_endpoint
from tests.preflight.conftest import MODEL

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "preflight.md"
CONTEXT: dict[str, Any] = {"environments": {"dev": {}}}


def the_policy() -> dict[str, Any]:
    """The policy on the page."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(block)


# ---- rows, table, exit codes ----

ROWS = [passed("good", "as it should be"), failed("bad", "is not", "do this\nor that"), unknown("hidden", "denied")]


def test_the_table_aligns_and_puts_each_remedy_below_its_failure() -> None:
    lines = as_table(ROWS, [("busy", "$1")]).splitlines()
    assert lines == [
        "✓ good    as it should be",
        "✗ bad     is not",
        "          → do this",
        "          → or that",
        "\N{EN DASH} hidden  cannot be checked: denied",
        "",
        "Cost",
        "  busy    $1",
        "",
        "1 ✓, 1 ✗, 1 \N{EN DASH} (cannot be checked)",
    ]


def test_only_a_failure_makes_the_exit_code_1() -> None:
    assert exit_code(ROWS) == 1
    assert exit_code([ROWS[0], ROWS[2]]) == 0


def test_json_has_every_row() -> None:
    shown = as_json(ROWS, [("busy", "$1")])
    assert shown["ok"] is False and shown["cost"] == {"busy": "$1"}
    assert shown["checks"][1] == {"name": "bad", "status": "fail", "detail": "is not", "remedy": "do this\nor that"}


@pytest.mark.parametrize("arguments", [["-c", "env"], ["--nothing"], ["-c", "=x"]])
def test_wrong_options_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("setting", ["env=nowhere", "max_capacity=0", "instance_typ=ml.g5.xlarge", "region=mars-1"])
def test_a_wrong_setting_exits_with_2_and_the_messages_of_synth(
    setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", setting]) == 2
    assert capsys.readouterr().err.startswith("configuration: ")


def test_an_unknown_profile_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "no-such-profile"]) == 2
    assert "no-such-profile" in capsys.readouterr().err


# ---- cost ----


def decoder(model_id: str) -> Any:
    """The sizes that the benchmarks' roofline reads."""
    model = find_model(model_id)
    sizes = {"hidden": model.hidden_size, "layers": model.layers, "ffn": 4 * model.hidden_size}
    melody = {"chroma_frames": model.chroma_frames, "melody": model.chroma_frames > 0}
    return SimpleNamespace(**sizes, **melody, vocabulary=2048, codebooks=model.codebooks)


@pytest.mark.parametrize("model_id", SERVED_MODELS)
@pytest.mark.parametrize(("eight_bit", "quantisation"), [(False, "none"), (True, "int8")])
def test_estimated_seconds_are_twice_the_benchmarks_roofline(model_id: str, eight_bit: bool, quantisation: str) -> None:
    """Twice, as half of the nominal bandwidth is assumed; NVIDIA's data sheet has 600 GB/s for an A10G."""
    expected = clip_seconds(decoder(model_id), 1503, 1, 600e9, eight_bit=eight_bit)
    given = {"model_id": model_id, "revision": "0" * 40, "weight_quantisation": quantisation}
    config = from_context({**CONTEXT, **given})
    assert config.capacity("ml.g5.2xlarge").clip_seconds() == pytest.approx(2 * expected)


def test_prices_busy_idle_and_per_clip() -> None:
    lines = dict(cost_lines(from_context({**CONTEXT, "max_capacity": "3", "encryption": "customer-managed"})))
    assert lines["busy, ml.g5.2xlarge"] == "$1.515 per hour and instance; up to $4.54 with 3"
    assert lines["clip, ml.g5.2xlarge"] == (
        "30 s of audio in 61.0 s with 11 at once, about $0.0023 each, or in 31.4 s alone, about $0.0132: estimates "
        "from bytes per step and half of the nominal memory bandwidth, not measured"
    )
    assert lines["idle"].startswith("$0 for instances; $0.17 a month") and "$1.00 for the KMS key" in lines["idle"]


@pytest.mark.parametrize(("quantisation", "clips", "seconds"), [("none", 22, 59.8), ("int8", 23, 45.1)])
def test_an_instance_without_a_gpu_is_priced_by_its_own_estimate(quantisation: str, clips: int, seconds: float) -> None:
    given = {"model_id": "facebook/musicgen-small", "instance_type": "ml.c7i.4xlarge"}
    lines = dict(cost_lines(from_context({**CONTEXT, **given, "weight_quantisation": quantisation})))
    assert "an estimate: no table has the type" in lines["busy, ml.c7i.4xlarge"]
    assert f"with {clips} at once" in lines["clip, ml.c7i.4xlarge"]
    assert f"in {seconds} s alone" in lines["clip, ml.c7i.4xlarge"]


def test_a_clip_is_priced_at_the_configured_length() -> None:
    lines = dict(cost_lines(from_context({**CONTEXT, "clip_seconds": "5"})))
    assert lines["clip, ml.g5.2xlarge"].startswith("5 s of audio in 7.5 s with 32 at once, about $0.0001 each")


def test_without_scaling_idling_is_not_free() -> None:
    assert dict(cost_lines(from_context({**CONTEXT, "scaling": "off"})))["idle"].startswith("$1106 a month")


def test_another_region_has_no_price() -> None:
    lines = dict(cost_lines(from_context({**CONTEXT, "region": "eu-west-1"})))
    assert "the table has us-east-1 only" in lines.pop("prices")
    assert list(lines) == ["clip, ml.g5.2xlarge"] and "$" not in lines["clip, ml.g5.2xlarge"]


# ---- the page ----


def test_the_pages_policy_has_every_action() -> None:
    allowed = {action for statement in the_policy()["Statement"] for action in statement["Action"]}
    assert allowed == set(ACTIONS.values())


def test_every_call_is_in_the_policy(account: Account, hub: str) -> None:
    network = PrivateNetwork(account)
    network.add_interface("s3", group=network.add_group("endpoints"))
    deploy_endpoint(account, "ml.g5.2xlarge", scaling=True)
    arn = account.client("secretsmanager").create_secret(Name="t", SecretString="hf_12345678")["ARN"]
    account.client("s3").create_bucket(Bucket="weights")
    account.quotas, account.default_quotas = {}, {"ml.g5.xlarge": 0}
    account.calls.clear()
    account.check(hub_endpoint=hub, instance_type="ml.g5.xlarge", token_secret_arn=arn, **network.settings)
    account.check(hub_endpoint="s3://weights")
    assert account.calls == ACTIONS.keys()


# ---- against the embedded AWS ----


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running embedded AWS."""
    with LocalAws(tmp_path_factory.mktemp("aws")) as running:
        yield running


def run_preflight(aws: LocalAws, hub: str, **credentials: str) -> tuple[int, dict[str, str]]:
    """Run the command; its exit code, and each row's status."""
    command = [sys.executable, "-m", "preflight", "--json", "-c", "env=dev", "-c", f"hub_endpoint={hub}"]
    command += ["-c", f"revision={COMMIT}"]
    paths = ":".join(str(PROJECT / part) for part in ("", "tools"))
    environment = {**aws.environment(), "PYTHONPATH": paths, **credentials}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, {row["name"]: row["status"] for row in json.loads(done.stdout)["checks"]}


def prepare(aws: LocalAws) -> None:
    aws.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
    repository, _, tag = image_uri(REGION, "cuda").partition("/")[2].partition(":")
    aws.client("ecr").create_repository(repositoryName=repository)
    aws.client("ecr").put_image(repositoryName=repository, imageManifest=json.dumps(MANIFEST), imageTag=tag)


def test_the_command_against_an_empty_and_a_prepared_account(aws: LocalAws, model_folder: Path) -> None:
    with LoopbackHub(Repository.from_folder(model_folder, model_id=MODEL, revision=COMMIT)) as hub:
        code, rows = run_preflight(aws, hub.url)
        assert code == 1
        assert [name for name, status in rows.items() if status == "fail"] == ["CDK bootstrap", "container image"]
        prepare(aws)
        code, rows = run_preflight(aws, hub.url)
        assert code == 0
        # The embedded AWS has no quotas of SageMaker.
        assert [name for name, status in rows.items() if status != "pass"] == ["quota"]

        code, rows = run_preflight(aws, hub.url, **limited_credentials(aws, the_policy()))
        assert code == 0
        assert [name for name, status in rows.items() if status != "pass"] == ["quota"]

        code, rows = run_preflight(aws, hub.url, **limited_credentials(aws, {"Version": "2012-10-17", "Statement": []}))
        assert code == 0
        assert [name for name, status in rows.items() if status == "pass"] == [
            "credentials", "host image", "private network", "weights",
        ]  # fmt: skip


def limited_credentials(aws: LocalAws, policy: dict[str, Any]) -> dict[str, str]:
    """Credentials of a role that has this policy alone."""
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    name, iam = f"preflight-{len(policy['Statement'])}", aws.client("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    if policy["Statement"]:
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    made = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        "AWS_SESSION_TOKEN": made["SessionToken"],
    }
