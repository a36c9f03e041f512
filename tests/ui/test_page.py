"""The page in headless Chromium, in front of a fake AWS."""

from typing import Any

FACTS = ["seed 41 · 10.00 s · musicgen-small", "seed 42 · 10.00 s · musicgen-small"]
WAV_BYTES = 44 + 10 * 32_000 * 2


def test_says_what_the_endpoint_does_and_costs(visit: dict[str, Any]) -> None:
    assert visit["about"].startswith("Stack MusicGen-demo is asleep") and "$1.515/h" in visit["about"]


def test_shows_the_stages_of_a_request_in_order(visit: dict[str, Any]) -> None:
    order = ["sending", "planned", "asleep", "waking", "queued", "generating", "uploading", "finishing", "completed"]
    stages: list[str] = visit["stages"]
    assert stages == sorted(stages, key=order.index)
    assert "generating" in stages and {"asleep", "waking"} & set(stages)


def test_shows_waveform_spectrogram_and_player_of_each_variation(visit: dict[str, Any]) -> None:
    assert visit["facts"] == FACTS
    assert visit["waveforms"] == 2 and visit["spectrograms"] == [[600, 128]] * 2
    assert visit["played"]["error"] is None
    assert visit["played"]["duration"] == 10 and visit["played"]["position"] > 0


def test_downloads_the_wav_file(visit: dict[str, Any]) -> None:
    assert visit["download"] == WAV_BYTES


def test_explains_each_parameter_as_the_schema_does(visit: dict[str, Any]) -> None:
    assert "Above 1 flattens the distribution" in visit["explanations"]


def test_stop_cancels_what_would_run_for_a_minute(visit: dict[str, Any]) -> None:
    assert visit["stopped"].startswith("Stopped after ") and visit["stop_seconds"] < 20


def test_shows_the_containers_message_as_text(visit: dict[str, Any]) -> None:
    assert visit["refused"] == 'texts[0] must be a string of 1 to 1000 characters, got <b>"refuse"</b>'
    assert visit["invalid"] == "generation_params.seed must be an integer from 0 to 4294967295, got -1"


def test_opens_clips_and_parameters_from_the_history_after_a_reload(visit: dict[str, Any]) -> None:
    assert visit["again"] == FACTS
    assert visit["fields"] == {"seed": "41", "guidance_scale": "5"}


def test_loads_nothing_from_another_host(visit: dict[str, Any]) -> None:
    assert visit["foreign"] == [] and visit["console"] == []


def test_answers_this_machine_alone(visit: dict[str, Any]) -> None:
    assert visit["other_address"] == "refused"
    assert visit["statuses"] == {"127.0.0.1": 200, "evil.example": 403}
