"""The gate's comparison of policies agrees with trying every request."""

from tests.stack_gate.policy_oracle import MAX_NEEDLESS, allows_more, judge_pairs

SEED = 20


def test_twenty_thousand_random_pairs_are_sound_and_rarely_needlessly_new() -> None:
    tally = judge_pairs(20_000, SEED)

    assert tally.new > 4_000
    assert tally.unsound == 0, tally.example
    assert tally.needless_rate <= MAX_NEEDLESS


def test_oracle_sees_a_wider_action_and_a_lost_denial() -> None:
    narrow = {"Effect": "Allow", "Action": ["s3:a"], "Resource": ["r"]}
    denial = {"Effect": "Deny", "Action": ["s3:b"], "Resource": ["*"]}

    assert allows_more([narrow], [{**narrow, "Action": ["s3:*"]}])
    assert allows_more([narrow, denial], [narrow])
    assert not allows_more([{**narrow, "Action": ["s3:*"]}], [narrow, denial])
