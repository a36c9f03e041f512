"""The Hub, a mirror in S3 and the token's secret: healthy, and each fault."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_aws.hub import HubRequest, LoopbackHub, Reply, Repository
from local_aws.hub.server import ReplyHook
from preflight import weights
from preflight.report import Check, Status
from tests.preflight.account import COMMIT, LISTING, REGION, Account
from tests.preflight.conftest import MODEL

MIRROR = "s3://weights/hub"
KEY = f"hub/{MODEL}/{COMMIT}/listing.json"
UNUSED = "http://127.0.0.1:9"


def loopback_hub(folder: Path, *, token: str | None = None, on_reply: ReplyHook | None = None) -> LoopbackHub:
    repository = Repository.from_folder(folder, model_id=MODEL, revision=COMMIT)
    return LoopbackHub(repository, token=token, on_reply=on_reply)


def the_row(account: Account, **overrides: str) -> Check:
    return account.check(**overrides)["weights"]


# ---- the Hub ----


def test_the_configured_commit_passes_and_its_weights_are_named(account: Account, hub: str) -> None:
    row = the_row(account, hub_endpoint=hub)
    assert row.status is Status.PASS
    assert row.detail == f"{MODEL} at {COMMIT} on {hub} holds model.safetensors"


def test_the_hub_is_asked_once_by_name_and_without_a_token(account: Account, model_folder: Path) -> None:
    asked: list[HubRequest] = []

    def note(request: HubRequest, reply: Reply) -> Reply:
        asked.append(request)
        return reply

    with loopback_hub(model_folder, on_reply=note) as running:
        the_row(account, hub_endpoint=running.url)
    (request,) = asked
    assert request.path == f"/api/models/{MODEL}/revision/{COMMIT}"
    assert request.headers["User-Agent"] == weights.USER_AGENT
    assert "Authorization" not in request.headers


def test_an_unknown_commit_fails(account: Account, hub: str) -> None:
    row = the_row(account, hub_endpoint=hub, revision="f" * 40)
    assert row.status is Status.FAIL and "does not exist: the answer is 404" in row.detail
    assert "commits/main" in row.remedy


def test_an_unknown_model_fails(account: Account, hub: str) -> None:
    assert the_row(account, hub_endpoint=hub, model_id="facebook/musicgen-small").status is Status.FAIL


def test_a_commit_without_weights_fails(account: Account, model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "state_dict.bin")
    with loopback_hub(model_folder) as running:
        row = the_row(account, hub_endpoint=running.url)
    assert row.status is Status.FAIL and "must hold config.json and one of" in row.detail


def test_audiocrafts_pair_passes_for_a_custom_model_only(account: Account, model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "state_dict.bin")
    (model_folder / "compression_state_dict.bin").write_bytes(b"another")
    repository = Repository.from_folder(model_folder, model_id="me/my-musicgen", revision=COMMIT)
    custom = {"model_id": "me/my-musicgen", "model_like": "facebook/musicgen-small"}
    with LoopbackHub(repository) as running:
        row = the_row(account, hub_endpoint=running.url, **custom)
    assert (row.status, row.detail.rpartition(" holds ")[2]) == (Status.PASS, "compression_state_dict.bin")
    with loopback_hub(model_folder) as running:
        assert the_row(account, hub_endpoint=running.url).status is Status.FAIL


def test_a_gated_model_without_a_token_fails(account: Account, model_folder: Path) -> None:
    with loopback_hub(model_folder, token="hf_12345678") as running:
        row = the_row(account, hub_endpoint=running.url)
    assert row.status is Status.FAIL and "is gated, and no token is configured" in row.detail


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (401, Status.FAIL, "gated, private or does not exist"),
        (403, Status.FAIL, "gated, private or does not exist"),
        (429, Status.UNKNOWN, "the answer is 429"),
        (503, Status.UNKNOWN, "the answer is 503"),
        (405, Status.FAIL, "the answer is 405"),
    ],
)
def test_statuses_of_the_hub(account: Account, model_folder: Path, answer: int, status: Status, text: str) -> None:
    with loopback_hub(
        model_folder,
        on_reply=lambda _, reply: replace(reply, status=answer),
    ) as running:
        row = the_row(account, hub_endpoint=running.url)
    assert row.status is status and text in row.detail and row.remedy


def test_a_private_model_with_a_token_is_not_known_as_the_token_is_not_read(
    account: Account, model_folder: Path
) -> None:
    arn = add_secret(account)
    with loopback_hub(
        model_folder,
        on_reply=lambda _, reply: replace(reply, status=401),
    ) as running:
        rows = account.check(hub_endpoint=running.url, token_secret_arn=arn)
    assert rows["weights"].status is Status.UNKNOWN and rows["token secret"].status is Status.PASS
    assert "GetSecretValue" not in account.calls


def test_an_answer_that_is_cut_short_is_no_listing(account: Account, model_folder: Path) -> None:
    with loopback_hub(
        model_folder,
        on_reply=lambda _, reply: replace(reply, truncate_to=20),
    ) as running:
        row = the_row(account, hub_endpoint=running.url)
    assert row.status is Status.FAIL


def test_another_hub_that_does_not_answer_fails(account: Account) -> None:
    row = the_row(account, hub_endpoint=UNUSED)
    assert row.status is Status.FAIL and "does not answer this machine" in row.detail


def test_the_public_hub_out_of_reach_is_not_known_as_the_lambda_calls_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    row = the_row(account)
    assert row.status is Status.UNKNOWN and "the staging Lambda calls it from AWS" in row.detail


# ---- a mirror in S3 ----


def put_mirror(account: Account, listing: object) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket="weights")
    s3.put_object(Bucket="weights", Key=KEY, Body=json.dumps(listing).encode())


def test_a_complete_mirror_passes(account: Account) -> None:
    put_mirror(account, LISTING)
    assert the_row(account, hub_endpoint=MIRROR).status is Status.PASS


def test_a_mirror_without_the_commit_fails_with_the_command_that_copies_it(account: Account) -> None:
    account.client("s3").create_bucket(Bucket="weights")
    row = the_row(account, hub_endpoint=MIRROR)
    assert row.status is Status.FAIL and f"s3://weights/{KEY} does not exist" in row.detail
    assert row.remedy == f"make mirror MODEL={MODEL} REVISION={COMMIT} TO={MIRROR}"


def test_a_bucket_that_does_not_exist_fails(account: Account) -> None:
    row = the_row(account, hub_endpoint=MIRROR)
    assert row.status is Status.FAIL and "bucket weights does not exist" in row.detail


def test_a_bucket_in_another_region_fails(account: Account) -> None:
    account.refuse("s3.GetObject", "PermanentRedirect")
    row = the_row(account, hub_endpoint=MIRROR)
    assert row.status is Status.FAIL and f"must be in {REGION}" in row.detail


def test_a_mirror_that_may_not_be_read_is_not_known(account: Account) -> None:
    account.refuse("s3.GetObject", "AccessDenied")
    row = the_row(account, hub_endpoint=MIRROR)
    assert row.status is Status.UNKNOWN
    assert "s3:GetObject is denied" in row.detail and "without s3:ListBucket" in row.detail


@pytest.mark.parametrize("listing", [{**LISTING, "sha": "f" * 40}, {"sha": COMMIT, "siblings": []}, [], {}])
def test_a_mirror_with_a_wrong_listing_fails(account: Account, listing: object) -> None:
    put_mirror(account, listing)
    assert the_row(account, hub_endpoint=MIRROR).status is Status.FAIL


# ---- the token's secret ----


def add_secret(account: Account) -> str:
    made = account.client("secretsmanager").create_secret(Name="hub-token", SecretString="hf_12345678")
    return made["ARN"]


def test_a_secret_that_does_not_exist_fails(account: Account) -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:hub-token-AbCdEf"
    row = account.check(hub_endpoint=UNUSED, token_secret_arn=arn)["token secret"]
    assert row.status is Status.FAIL and "does not exist" in row.detail


def test_a_secret_that_is_being_deleted_fails(account: Account) -> None:
    arn = add_secret(account)
    account.client("secretsmanager").delete_secret(SecretId=arn)
    row = account.check(hub_endpoint=UNUSED, token_secret_arn=arn)["token secret"]
    assert row.status is Status.FAIL and "restore-secret" in row.remedy


def test_a_secret_that_may_not_be_described_is_not_known(account: Account) -> None:
    account.refuse("secrets-manager", "AccessDeniedException")
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:hub-token-AbCdEf"
    row = account.check(hub_endpoint=UNUSED, token_secret_arn=arn)["token secret"]
    assert row.status is Status.UNKNOWN and "secretsmanager:DescribeSecret is denied" in row.detail
