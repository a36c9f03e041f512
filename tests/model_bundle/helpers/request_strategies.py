"""Hypothesis strategies for request bodies: valid, almost valid and invalid."""

from hypothesis import strategies as st

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
numbers = (
    st.integers(-2, 2050)
    | st.integers(2**32 - 2, 2**32 + 1)
    | st.floats(-1, 40)
    | st.sampled_from([4.0, 1503, 1504, 0.02])
)
params = st.fixed_dictionaries(
    {},
    optional={
        "max_new_tokens": numbers | anything,
        "duration": numbers | st.floats(299, 301) | anything,
        "stride": numbers | anything,
        "guidance_scale": numbers | anything,
        "do_sample": st.booleans() | anything,
        "temperature": numbers | st.floats(0, 0.002) | st.sampled_from([1e-38, 1e-3]) | anything,
        "top_k": numbers | anything,
        "top_p": st.floats(0, 1) | st.floats(0, 2e-6) | st.sampled_from([1e-300, 1e-6]) | anything,
        "seed": numbers | anything,
        "unknown": anything,
    },
)
text = st.text(st.characters() | st.sampled_from(" \x1c\u00a0\ud800"), max_size=4) | st.integers(990, 1010).map(
    "é".__mul__
)
section = st.fixed_dictionaries(
    {}, optional={"text": text | anything, "duration": numbers | anything, "other": anything}
)
long_section: dict[str, object] = {"text": "a", "duration": 30}
sections = st.lists(section, max_size=3) | st.lists(st.just(long_section), min_size=14, max_size=18)
audio = st.fixed_dictionaries(
    {},
    optional={
        "s3": st.sampled_from(
            ["s3://in/in/a", "s3://uploads/in/a b/ä.wav", "s3://uploads/", "s3://Up/in/a", "s3://uploads/a\n"]
        )
        | text.map("s3://uploads/{}".format)
        | anything,
        "base64": st.sampled_from(
            ["UklGRg==", "UklGRl8=", "UklG", "UklGR", "Ukl=", "UklGRg==\n", "Ukl-", "=", "====", "U==="]
        )
        | st.text("Aa+/=é \n", max_size=9)
        | anything,
        "unknown": anything,
    },
)
# The schema cannot say that an excerpt's end is after its start, and not by more than its longest.
excerpt = st.fixed_dictionaries(
    {},
    optional={
        "audio": audio | anything,
        "start": st.sampled_from([0, 0.0, 4, 4.5, -1, 601, True, "0"]),
        "end": st.sampled_from([5, 7.25, 25, 601, 0, None]),
        "return_excerpt": st.booleans() | anything,
        "unknown": anything,
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "continuation": excerpt | anything,
        "melody": excerpt | anything,
        "unconditional_clips": st.integers(-1, 18) | st.sampled_from([1.0, 16.5, True]) | anything,
        "negative_prompt": text | anything,
        "return_tokens": st.booleans() | anything,
        "progress": st.booleans() | anything,
        "format": st.sampled_from(["wav", "wav_24", "mp3", "WAV", "aiff", ""]) | anything,
        "normalization": st.sampled_from(["none", "rms", "loudness", "lufs"]) | anything,
        "fade_in": st.floats(-1, 31) | numbers | anything,
        "fade_out": st.floats(-1, 31) | numbers | anything,
        "trim_tail": st.booleans() | anything,
        "tags": st.booleans() | anything,
        "n": st.integers(0, 18) | anything,
        "sections": sections | anything,
        "loop": st.booleans() | st.just(True) | anything,
        "bpm": numbers | anything,
        "bars": numbers | anything,
        "texts": st.lists(text | anything, max_size=3) | st.lists(text, min_size=15, max_size=18) | anything,
        "bucket_name": st.text(max_size=5) | anything,
        "generation_params": params | anything,
        "unknown": anything,
    },
)
