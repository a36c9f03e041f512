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
sections = st.lists(
    st.fixed_dictionaries({}, optional={"text": text | anything, "duration": numbers | anything, "other": anything}),
    max_size=3,
) | st.lists(st.just({"text": "a", "duration": 30}), min_size=14, max_size=18)
requests = st.fixed_dictionaries(
    {},
    optional={
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
