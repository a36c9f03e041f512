"""`make local MELODY=1`: the toy melody model on the Hub, the hummed melody in requests, and what is heard of it."""

import base64
import io
import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import soundfile

from local_aws.hub.melody.humming import draw_melody
from local_aws.hub.melody.music import NOTES
from local_aws.hub.tune.music import SAMPLING_RATE
from local_aws.walkthrough import __main__ as walkthrough
from local_aws.walkthrough.client import Client, ClipRequest, shorten
from local_aws.walkthrough.toy_model import toy_melody_model, toy_model


def test_the_toy_melody_model_is_the_same_commit_wherever_it_is_written(tmp_path: Path) -> None:
    one, other = (toy_melody_model(tmp_path / name) for name in ("one", "other"))
    assert one.model_id == "facebook/musicgen-melody" and one.revision == other.revision != toy_model().revision
    assert one.size < 3_000_000
    config = json.loads((one.folder / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["chroma_length"]) == ("musicgen_melody", 235)


def test_requests_have_a_hummed_melody_of_their_length_which_is_not_printed() -> None:
    body = ClipRequest("a calm tune", 4.0, melody=True).body(seed=3)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body["melody"]["audio"]["base64"])))
    assert rate == SAMPLING_RATE and 4.0 <= len(samples) / rate < 5.5 and np.abs(samples).max() > 0.04
    assert json.loads(shorten(body)) == {**body, "melody": {"audio": {"base64": "…"}}}
    assert "melody" not in ClipRequest("a calm tune", 4.0).body(seed=3)


@pytest.mark.parametrize("melody", [False, True])
def test_a_request_too_large_for_a_call_goes_through_the_input_bucket(melody: bool) -> None:
    aws = MagicMock(account_id="123456789012")
    outputs = {"ClientPolicyArn": "arn", "EndpointName": "music", "InputBucketName": "inputs"}
    client = Client(aws, outputs)
    client.invoke(body := ClipRequest("a calm tune", 4.0, melody=melody).body(seed=3))
    (sent,) = aws.client_as.return_value.invoke_endpoint_async.call_args_list
    stored = aws.client_as.return_value.put_object.call_args_list
    if not melody:
        assert json.loads(sent.kwargs["Body"]) == body and not stored
        return
    (given,) = [call.kwargs for call in stored]
    assert sent.kwargs["InputLocation"] == f"s3://inputs/{given['Key']}" and "Body" not in sent.kwargs
    assert given["Bucket"] == "inputs" and given["Key"].startswith("in/") and json.loads(given["Body"]) == body


def test_says_how_many_notes_of_the_melody_a_clip_plays() -> None:
    request = ClipRequest("", 4.0, melody=True)
    time = np.arange(5 * SAMPLING_RATE) / SAMPLING_RATE
    ends = np.cumsum([note.seconds for note in draw_melody(7, 4.0)])
    pitches = [draw_melody(7, 4.0)[min(int(place), len(ends) - 1)].pitch for place in np.searchsorted(ends, time)]
    wav = io.BytesIO()
    soundfile.write(wav, 0.3 * np.sin(2 * np.pi * np.take(NOTES, pitches) * time), SAMPLING_RATE, format="WAV")
    assert request.heard(wav.getvalue()) == f"{len(ends)} of {len(ends)} notes of the hummed melody"
    assert request.asked == "a hummed melody"


def test_a_piece_cannot_follow_a_melody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["local_aws.walkthrough", "--melody", "--piece"])
    with pytest.raises(SystemExit):
        walkthrough.main()
    assert "not with --melody" in capsys.readouterr().err
