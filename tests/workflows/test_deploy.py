"""deploy.yml: what is deployed again, and when."""

from pathlib import Path

import pytest

from tests.workflows.steps import job, run, step

SMOKE_TEST = step("deploy", "deploy", "Generate a clip and check the audio")
LAST = step("deploy", "deploy", "Find the last deployed commit that passed the smoke test")
REDEPLOY = step("deploy", "deploy", "Redeploy the last commit that passed the smoke test")
# gh api's answers: deployments 3, 2 and 1, of which 2 and 1 have passed.
DEPLOYMENTS = """
case "$2" in
  */deployments\\?*) printf '3\\n2\\n1\\n' ;;
  */deployments/3/statuses) echo false ;;
  */statuses) echo true ;;
  */deployments/2) echo second ;;
esac
"""


@pytest.mark.parametrize("code", ["0", "1", "2"])
def test_the_smoke_tests_exit_status_is_an_output(tmp_path: Path, code: str) -> None:
    done = run(SMOKE_TEST, tmp_path, {".venv/bin/python": f"exit {code}"}, ENVIRONMENT="dev")
    assert (str(done.code), done.outputs) == (code, {"code": code})
    assert done.calls == [".venv/bin/python -m smoke_test --stack MusicGen-dev"]


def test_only_a_stack_that_made_no_music_is_deployed_again() -> None:
    assert "steps.music.outputs.code == '1'" in REDEPLOY["if"]
    assert "steps.music.outcome" not in REDEPLOY["if"]
    assert SMOKE_TEST["id"] == "music"


def test_the_last_commit_that_passed_is_found(tmp_path: Path) -> None:
    done = run(LAST, tmp_path, {"gh": DEPLOYMENTS}, ENVIRONMENT="dev")
    assert (done.code, done.outputs) == (0, {"commit": "second"})


def test_without_a_commit_that_passed_there_is_no_output(tmp_path: Path) -> None:
    done = run(
        LAST, tmp_path, {"gh": "case $2 in *deployments\\?*) echo 3 ;; *) echo false ;; esac"}, ENVIRONMENT="dev"
    )
    assert (done.code, done.outputs) == (0, {})


@pytest.mark.parametrize("gh", ["exit 1", "case $2 in *statuses) exit 1 ;; *) echo 3 ;; esac"])
def test_unanswered_questions_to_github_fail_the_run(tmp_path: Path, gh: str) -> None:
    assert run(LAST, tmp_path, {"gh": gh}, ENVIRONMENT="dev").code != 0


def test_redeploying_says_which_commit_failed(tmp_path: Path) -> None:
    done = run(REDEPLOY, tmp_path, {"git": "", "make": ""}, ENVIRONMENT="prod", COMMIT="good")
    assert done.calls == ["git checkout --detach good", "make deploy ENV=prod ARGS=--require-approval never"]
    assert "abc failed the smoke test; good is deployed again" in done.text


def test_credentials_last_as_long_as_two_deployments() -> None:
    (credentials,) = [step for step in job("deploy", "deploy")["steps"] if "configure-aws" in step.get("uses", "")]
    assert credentials["with"]["role-duration-seconds"] == 60 * job("deploy", "deploy")["timeout-minutes"]
