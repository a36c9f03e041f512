"""Sections, loops and audio on the page, in headless Chromium, in front of a fake AWS."""

import base64
from typing import Any

from tests.client.helpers.fake_aws import wav


def test_parts_are_folded_in_at_first(parts_visit: dict[str, Any]) -> None:
    assert parts_visit["folded"]


def test_sections_become_one_clip(parts_visit: dict[str, Any]) -> None:
    assert parts_visit["sections_said"] == "3 sections, 9.5 s, instead of the prompt and the duration."
    assert len(parts_visit["sections"]) == 1 and "9.50 s" in parts_visit["sections"][0]
    sent = parts_visit["sent"][0]
    texts = [("quiet strings", 4), ("drums enter", 3.5), ("all fade", 2)]
    assert sent["sections"] == [{"text": text, "duration": seconds} for text, seconds in texts]
    assert "texts" not in sent and sent["generation_params"].keys() == {"seed"}


def test_loops_have_the_length_that_the_page_said(parts_visit: dict[str, Any]) -> None:
    assert parts_visit["loop_said"] == "A loop of 8 bars at 112 bpm: 17.14 s, instead of the duration."
    assert len(parts_visit["loop"]) == 2 and all("17.14 s" in facts for facts in parts_visit["loop"])
    sent = parts_visit["sent"][1]
    assert (sent["loop"], sent["bpm"], sent["bars"], sent["texts"]) == (True, 112, 8, ["house loop"] * 2)


def test_clip_is_continued_by_its_url(parts_visit: dict[str, Any]) -> None:
    assert parts_visit["continuation_in_view"]
    sent = parts_visit["sent"][2]
    assert sent["texts"] == ["onwards"] * 2 and "loop" not in sent
    assert sent["continuation"]["audio"]["s3"].endswith("_1.wav")
    assert sent["continuation"]["end"] == 5 and sent["continuation"]["return_excerpt"] is False


def test_melody_of_a_file_is_sent_and_refused_in_the_endpoints_words(parts_visit: dict[str, Any]) -> None:
    assert parts_visit["heard"] == "t=0.5,"
    assert parts_visit["refused"].startswith("melody needs a melody model (facebook/musicgen-melody, …)")
    assert parts_visit["sent"][3]["melody"] == {"audio": {"base64": base64.b64encode(wav(2, 1)).decode()}, "start": 0.5}


def test_requests_of_the_history_have_all_their_parts_again(parts_visit: dict[str, Any]) -> None:
    rows = [["quiet strings", "4"], ["drums enter", "3.5"], ["all fade", "2"]]
    assert parts_visit["sections_again"] == rows
    continuation = parts_visit["sent"][2]["continuation"]
    assert parts_visit["continuation_again"] == [continuation["audio"]["s3"], "", "5"]
    assert parts_visit["excerpt_again"] is False


def test_requests_of_the_history_are_sent_again_as_they_were(parts_visit: dict[str, Any]) -> None:
    sent = parts_visit["sent"]
    assert len(sent) == 6 and sent[4] == sent[2] and sent[5] == sent[3]


def test_names_what_it_has_no_field_for_and_does_not_go_without_lost_audio(parts_visit: dict[str, Any]) -> None:
    assert "choose it again" in parts_visit["remarks"]
    assert "no field for return tokens, format flac" in parts_visit["remarks"]
    assert parts_visit["not_sent"].startswith("melody must have its audio again")


def test_fits_a_phone_and_keeps_to_its_policy(parts_visit: dict[str, Any]) -> None:
    assert parts_visit["phone_width"] == 390 and parts_visit["console"] == []
