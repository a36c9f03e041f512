"""A short run of the HTTP fuzzer; `make fuzz` runs it at length."""

from pathlib import Path

from http_fuzz.fuzz import run
from http_fuzz.grammar import generate

REQUESTS = 1000
CASES = 3000


def test_every_generated_request_gets_a_valid_response_and_memory_stays_flat(tmp_path: Path) -> None:
    report = run(tmp_path, REQUESTS, seed=1, early=REQUESTS // 2)
    assert report.failures == []
    assert report.requests >= REQUESTS
    assert {200, 400, 404, 405, 406, 411, 413, 414, 415, 422, 501, 505} <= set(report.statuses)
    assert report.growth < 0.05
    assert report.threads <= 10  # four requests, two spare, the server's and the main one, and two of torch's


def test_a_seed_and_a_number_name_a_case() -> None:
    assert [generate(1, number) for number in range(50)] == [generate(1, number) for number in range(50)]
    assert generate(1, 0) != generate(2, 0)


def test_cases_stall_and_half_close() -> None:
    cases = [generate(1, number) for number in range(CASES)]
    assert 0 < sum(not case.half_close for case in cases) < CASES / 20
    assert {case.requests for case in cases} == {1, 2, 3}
