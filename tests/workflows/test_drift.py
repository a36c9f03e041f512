"""drift.yml and pr.yml: an account that cannot be asked is no account without drift, nor one without the stack."""

import json
import shutil
from pathlib import Path

import pytest

from tests.workflows.steps import ROOT, job, run, step

FETCH = step("drift", "drift", "Fetch the deployed template")
PR_FETCH = step("pr", "deployed", "Fetch the deployed template")
COMPARE = step("drift", "drift", "Compare the account with the stack")
ENVIRONMENTS = step("drift", "environments", "Read the environments from cdk.json")
PR_ENVIRONMENTS = step("pr", "environments", "Read the environments from the base's cdk.json")


def test_pull_requests_ask_as_the_nightly_run_does() -> None:
    assert (PR_FETCH["run"], PR_ENVIRONMENTS["run"]) == (FETCH["run"], ENVIRONMENTS["run"])
    assert (
        job("pr", "deployed")["environment"] == job("drift", "drift")["environment"] == "${{ matrix.environment }}-read"
    )
    (checkout,) = [step for step in job("pr", "environments")["steps"] if "checkout" in step.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


def refusal(code: str, message: str) -> str:
    return f"echo 'An error occurred ({code}) when calling the DescribeStacks operation: {message}' >&2; exit 254"


def test_a_stack_that_does_not_exist_is_no_drift(tmp_path: Path) -> None:
    aws = refusal("ValidationError", "Stack with id MusicGen-dev does not exist")
    done = run(FETCH, tmp_path, {"aws": aws}, STACK="MusicGen-dev")
    assert done.code == 0 and "::notice::MusicGen-dev is not deployed" in done.text
    assert not (tmp_path / "deployed.json").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "User: x is not authorized to perform: cloudformation:DescribeStacks"),
        ("ExpiredToken", "The security token included in the request is expired"),
        ("Throttling", "Rate exceeded"),
        ("ValidationError", "Stack name cannot exceed 128 characters"),
    ],
)
def test_any_other_refusal_fails_the_run(tmp_path: Path, code: str, message: str) -> None:
    done = run(FETCH, tmp_path, {"aws": refusal(code, message)}, STACK="MusicGen-dev")
    assert done.code == 1 and f"::error::MusicGen-dev could not be described: An error occurred ({code})" in done.text


def test_missing_credentials_fail_the_run(tmp_path: Path) -> None:
    aws = "echo 'Unable to locate credentials. You can configure credentials by running \"aws login\".' >&2; exit 253"
    assert run(FETCH, tmp_path, {"aws": aws}, STACK="MusicGen-dev").code == 1


def test_the_template_of_a_deployed_stack_is_fetched(tmp_path: Path) -> None:
    done = run(FETCH, tmp_path, {"aws": "case $2 in get-template) echo '{}' ;; esac"}, STACK="MusicGen-dev")
    assert done.code == 0 and (tmp_path / "deployed.json").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("status", "code"),
    [("DETECTION_COMPLETE\tIN_SYNC", 0), ("DETECTION_COMPLETE\tDRIFTED", 1), ("DETECTION_FAILED\tUNKNOWN", 1)],
)
def test_drift_and_failed_detection_fail_the_run(tmp_path: Path, status: str, code: int) -> None:
    aws = f"case $2 in detect-stack-drift) echo id ;; describe-stack-drift-detection-status) printf '{status}' ;; esac"
    assert run(COMPARE, tmp_path, {"aws": aws}, STACK="MusicGen-dev").code == code


def test_environments_are_those_of_cdk_json(tmp_path: Path) -> None:
    shutil.copy(ROOT / "cdk.json", tmp_path)
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    done = run(ENVIRONMENTS, tmp_path, {})
    assert json.loads(done.outputs["names"]) == sorted(context["environments"])
