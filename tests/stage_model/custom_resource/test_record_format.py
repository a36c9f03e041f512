"""Records and journals that an earlier version stored stay readable, so that a deployment can interrupt a run."""

import json
from typing import Any

from stage_model.custom_resource.run_record import parse_record
from stage_model.s3 import StoredPart, Upload
from stage_model.upload.journal import Journal

KEY = f"models/Stack/StagedModel/{'a' * 64}/model.tar.gz"
JOURNAL: dict[str, Any] = {
    "target": KEY,
    "layout": "b" * 64,
    "kept": ["decoder.sinusoids"],
    "uploads": [[KEY, "upload-1"]],
    "resume": {
        "parts": [[1, '"etag"', 305419896, 8388608, 2596069104, 8387968]],
        "hashed": 1,
        "snapshot": {
            "digests": {"config.json": "c" * 64},
            "unfinished": {"published model.safetensors": [65536, "openssl-little:AAAA"]},
            "lossy": ["decoder.sinusoids"],
        },
    },
}
RECORD: dict[str, Any] = {
    "request_id": "r1",
    "logical_id": "StagedModel",
    "state": "running",
    "issued": 1700000000.0,
    "owner": "run1",
    "lease_until": 1700000060.0,
    "started": 1700000001.0,
    "journal": JOURNAL,
    "answer": {"physical_id": KEY, "reason": None, "data": {}},
    "finished": 1700000050.0,
    "made": True,
}


def test_a_stored_record_is_read_and_written_unchanged() -> None:
    record = parse_record(json.dumps(RECORD).encode())
    assert json.loads(record.to_bytes()) == RECORD


def test_a_record_from_before_it_said_who_made_the_model_does_not_say_so() -> None:
    old = {name: value for name, value in RECORD.items() if name not in ("finished", "made")}
    record = parse_record(json.dumps(old).encode())
    assert (record.finished, record.made) == (None, False)


def test_a_stored_journal_is_read_and_written_unchanged() -> None:
    journal = Journal.from_json(JOURNAL)
    assert journal.to_json() == JOURNAL
    assert journal.uploads == (Upload(KEY, "upload-1"),)
    assert journal.resume.parts[0].stored == StoredPart(1, '"etag"', 305419896, 8388608)
