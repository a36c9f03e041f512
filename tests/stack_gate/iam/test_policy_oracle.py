"""The gate's comparison of policies agrees with trying every request."""

from tests.stack_gate.iam.policy_oracle import MAX_NEEDLESS, allows_more, judge_pairs

SEED = 20
PAIRS = 10_000  # no more, as the nightly `make check-policies` judges a million others


def test_ten_thousand_random_pairs_are_sound_and_rarely_needlessly_new() -> None:
    tally = judge_pairs(PAIRS, SEED)

    assert tally.new > 2_000
    assert tally.unsound == 0, tally.example
    assert tally.needless_rate <= MAX_NEEDLESS


def test_oracle_sees_a_wider_action_and_a_lost_denial() -> None:
    narrow = {"Effect": "Allow", "Action": ["s3:a"], "Resource": ["r"]}
    denial = {"Effect": "Deny", "Action": ["s3:b"], "Resource": ["*"]}

    assert allows_more([narrow], [{**narrow, "Action": ["s3:*"]}])
    assert allows_more([narrow, denial], [narrow])
    assert not allows_more([{**narrow, "Action": ["s3:*"]}], [narrow, denial])
