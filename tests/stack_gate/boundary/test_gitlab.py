"""Approvals and the comment on a GitLab merge request, against a loopback API."""

from collections.abc import Iterator

import pytest

from stack_gate import GateError
from stack_gate.boundary.approvals import Label
from stack_gate.boundary.github import GitHub
from stack_gate.boundary.gitlab import GitLab, host_from_environment
from stack_gate.boundary.label_approvals import MARK, Record, find_label_approvals
from tests.stack_gate.fakes.github import serving
from tests.stack_gate.fakes.gitlab import COMMIT, GATE, PERSON, ROBOT, FakeGitLab

SEEN, OTHER = "a" * 16, "b" * 16
TOKEN = "not-a-real-token"


def comment(digest: str, labels: dict[str, Label] | None = None) -> str:
    return f"{MARK}\ntext\n\n{Record(digests={'money': digest}, labels=labels or {}).line()}\n"


@pytest.fixture
def fake() -> FakeGitLab:
    return FakeGitLab()


@pytest.fixture
def host(fake: FakeGitLab) -> Iterator[GitLab]:
    with serving(fake) as address:
        yield GitLab(address=f"{address}/api/v4", project="5", token=TOKEN)


@pytest.mark.parametrize("offset", [False, True])
def test_label_that_a_person_added_covers_what_the_comment_showed(offset: bool, fake: FakeGitLab, host: GitLab) -> None:
    host.add_comment(7, comment(SEEN))
    fake.add_label("gate:money", offset=offset)

    assert find_label_approvals(host, 7) == {"money": Label(digest=SEEN, event=100)}


def test_label_covers_no_later_findings_until_it_is_added_again(fake: FakeGitLab, host: GitLab) -> None:
    host.add_comment(7, comment(SEEN))
    fake.add_label("gate:money")
    first = find_label_approvals(host, 7)
    (note,) = host.comments(7)
    host.update_comment(7, note["id"], comment(OTHER, first))
    assert find_label_approvals(host, 7) == first

    fake.remove_label("gate:money")
    assert find_label_approvals(host, 7) == {}
    fake.add_label("gate:money")
    assert find_label_approvals(host, 7)["money"].digest == OTHER


@pytest.mark.parametrize("user", [ROBOT, None])
def test_label_of_a_program_or_a_deleted_account_covers_nothing(
    user: int | None, fake: FakeGitLab, host: GitLab
) -> None:
    host.add_comment(7, comment(SEEN))
    fake.add_label("gate:money", user)

    assert find_label_approvals(host, 7) == {}


def test_label_added_before_the_comment_changed_covers_nothing(fake: FakeGitLab, host: GitLab) -> None:
    host.add_comment(7, comment(SEEN))
    fake.add_label("gate:money", offset=True)
    host.update_comment(7, 1, comment(OTHER))

    assert find_label_approvals(host, 7) == {}


def test_only_the_gates_own_note_is_its_comment(fake: FakeGitLab, host: GitLab) -> None:
    fake.write(PERSON, comment(SEEN))
    fake.write(GATE, comment(SEEN), system=True)
    fake.add_label("gate:money")

    assert find_label_approvals(host, 7) == {}


def test_token_of_a_person_is_refused(fake: FakeGitLab, host: GitLab) -> None:
    """A person could write the gate's comment, which says what labels cover."""
    fake.gate_is_a_bot = False
    fake.write(PERSON, comment(SEEN))
    fake.add_label("gate:money")

    with pytest.raises(GateError, match="must be a project access token"):
        find_label_approvals(host, 7)


def test_notes_are_read_to_the_last_page(fake: FakeGitLab, host: GitLab) -> None:
    for _ in range(150):
        fake.notes.append({**fake.user(PERSON), "author": fake.user(PERSON), "body": "", "updated_at": "2026-01-01"})

    assert len(list(host.comments(7))) == 150
    assert host.head_commit(7) == COMMIT


def test_failed_call_is_no_verdict_and_shows_no_token(host: GitLab) -> None:
    with pytest.raises(GateError, match=r"GitLab returned 404 for GET /projects/5/merge_requests/8") as error:
        host.head_commit(8)

    assert TOKEN not in str(error.value)


def test_host_is_the_one_whose_job_runs() -> None:
    gitlab = {"GITLAB_CI": "true", "CI_API_V4_URL": "http://x/api/v4", "CI_PROJECT_ID": "5"}

    assert isinstance(host_from_environment({**gitlab, "STACK_GATE_TOKEN": TOKEN}), GitLab)
    assert isinstance(host_from_environment({"GITHUB_REPOSITORY": "o/r", "GITHUB_TOKEN": TOKEN}), GitHub)
    with pytest.raises(GateError, match="STACK_GATE_TOKEN is not set"):
        host_from_environment(gitlab)
