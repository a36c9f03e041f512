"""The form's components: what is always in view, and the parts that are folded in."""

# Gradio is optional, and not in the environment of the type checker.
# pyright: reportUnknownMemberType=false

from typing import Any

from musicgen_client.requests.request import MAX_SECTIONS, MAX_TEXTS
from musicgen_client.ui import form, parts, views

_MAIN = ("duration", "seed")  # the other parameters are folded in
_LEVEL = ("normalization", "fade_in", "fade_out", "trim_tail")
_ROWS = 2  # of sections, at first
_TITLES = {"sections": "sections", "loop": "loop", **parts.AUDIO}
_EXPLANATIONS = {
    "sections": "One clip in parts that follow each other, each with a text of its own; together at most 300 s. "
    "Each row has a text and its seconds; one without a text is left out.",
    "loop": "Clips that repeat without a jump, in bars of four beats.",
    "continuation": "Every clip goes on from at most 25 s of this audio; duration and sections count what is new.",
    "melody": "Every clip follows the melody of at most 120 s of this audio. It needs a melody model, such as "
    "facebook/musicgen-melody; an endpoint with another one refuses it.",
}


class Inputs:
    """The form in the column that is open; its events are the page's."""

    def __init__(self, gr: Any) -> None:
        self._gr = gr
        self._fields = form.fields()
        self.prompt = gr.Textbox(
            label="prompt", lines=3, max_length=1000, elem_id="prompt", autofocus=True,
            placeholder="80s pop track with bassy drums and synth",
        )  # fmt: skip
        count = gr.Slider(
            1, MAX_TEXTS, 2, step=1, label="variations", info="Clips side by side, with consecutive seeds.",
            elem_id="count",
        )  # fmt: skip
        named: dict[str, Any] = {field.name: _input(gr, field) for field in self._fields if field.name in _MAIN}
        self._summary = gr.HTML(elem_id="summary")
        with gr.Row():
            self.start = gr.Button("Generate", variant="primary", elem_id="generate")
            self.halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
        self._folds: dict[str, Any] = {}
        self._said: dict[str, Any] = {}
        self._rows: list[Any] = []
        self._visible = gr.State(_ROWS)
        parts_of: dict[str, Any] = {}
        for part in parts.NAMES:
            with gr.Accordion(_TITLES[part], open=False, elem_id=f"part-{part}") as self._folds[part]:
                gr.HTML(views.note(_EXPLANATIONS[part]))
                if part == "sections":
                    parts_of |= self._sections()
                elif part == "loop":
                    parts_of |= self._loop()
                else:
                    parts_of |= self._audio(part)
                self._said[part] = gr.HTML(elem_id=f"said-{part}")
        with gr.Accordion("level and fades", open=False, elem_id="level") as self._folds["level"]:
            named |= {field.name: _input(gr, field) for field in self._fields if field.name in _LEVEL}
        with gr.Accordion("more parameters", open=False, elem_id="more"):
            named |= {field.name: _input(gr, field) for field in self._fields if field.name not in (*_MAIN, *_LEVEL)}
        self._parts = {name: parts_of[name] for name in parts.INITIAL}
        self._named = named | self._parts
        self.all = [self.prompt, count, *self._named.values()]
        # What `filled`, `continued` and `untouched` have values of.
        self.outputs = [*self.all, *self._folds.values(), *self._rows, self._visible]

    def named(self, entered: tuple[Any, ...]) -> tuple[Any, Any, dict[str, Any]]:
        """Return prompt, variations and the other values by name, of the values of `all`."""
        prompt, count, *values = entered
        return prompt, count, dict(zip(self._named, values, strict=True))

    @property
    def untouched(self) -> list[Any]:
        """The values of `outputs` with which they stay as they are."""
        return [self._gr.skip()] * len(self.outputs)

    def filled(self, entered: form.Entered) -> list[Any]:
        """Return the values of `outputs` for an earlier request; parts that it has are opened."""
        said = parts.summary(entered.values)
        level = any(entered.values[field.name] != field.default for field in self._fields if field.name in _LEVEL)
        folds = [self._gr.update(open=level if name == "level" else bool(said[name])) for name in self._folds]
        texts = [bool(entered.values[text]) for text, _ in parts.ROWS]
        values = [entered.values[name] for name in self._named]
        return [entered.prompt, entered.count, *values, *folds, *self._shown_rows(max(_ROWS, sum(texts)))]

    def continued(self, values: dict[str, Any]) -> list[Any]:
        """Return the values of `outputs` for a clip to continue."""
        named = [values.get(name, self._gr.skip()) for name in self._named]
        folds = [self._gr.update(open=True) if name == "continuation" else self._gr.skip() for name in self._folds]
        rest = [self._gr.skip()] * (len(self._rows) + 1)
        return [self._gr.skip(), self._gr.skip(), *named, *folds, *rest]

    def listen(self, private: dict[str, Any]) -> None:
        """Say what the parts make of the request, whenever one of them changes."""

        def describe(*values: Any) -> list[str]:
            entered = dict(zip(self._parts, values, strict=True))
            said = parts.summary(entered)
            players = {kind: views.excerpt(entered, kind) for kind in parts.AUDIO}
            notes = {part: views.note(said[part]) if said[part] else "" for part in parts.NAMES}
            return ["".join(notes.values()), *(notes[part] + players.get(part, "") for part in parts.NAMES)]

        components = list(self._parts.values())
        self._gr.on(
            [component.change for component in components], describe, components,
            [self._summary, *self._said.values()], trigger_mode="always_last", queue=False, **private,
        )  # fmt: skip

    def _sections(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for place, (text, seconds) in enumerate(parts.ROWS):
            with self._gr.Row(visible=place < _ROWS, elem_classes="mg-section") as row:
                found[text] = self._gr.Textbox(
                    label=f"text of section {place + 1}", show_label=False, scale=4, min_width=140, max_length=1000,
                    placeholder=f"section {place + 1}: what it sounds like", elem_id=f"text-{place}",
                )  # fmt: skip
                found[seconds] = self._gr.Number(
                    parts.INITIAL[seconds], label=f"seconds of section {place + 1}", show_label=False, min_width=70,
                    scale=1, step=1, elem_id=f"seconds-{place}",
                )  # fmt: skip
            self._rows.append(row)
        more = self._gr.Button("Add a section", size="sm", elem_id="add-section")

        def add(visible: int) -> list[Any]:
            return self._shown_rows(visible + 1)

        more.click(
            add, self._visible, [*self._rows, self._visible], queue=False, api_visibility="private",
            show_progress="hidden",
        )  # fmt: skip
        return found

    def _shown_rows(self, count: int) -> list[Any]:
        count = min(count, MAX_SECTIONS)
        return [*(self._gr.update(visible=place < count) for place in range(MAX_SECTIONS)), count]

    def _loop(self) -> dict[str, Any]:
        loop = self._gr.Checkbox(False, label="make a loop", elem_id="loop")
        with self._gr.Row():
            numbers = {
                name: self._gr.Number(parts.INITIAL[name], label=name, info=info, min_width=100, elem_id=name)
                for name, info in (("bpm", "30 to 300"), ("bars", "1 to 64"))
            }
        return {"loop": loop, **numbers}

    def _audio(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            f"{kind}_file": self._gr.File(
                label="a WAV, FLAC, Ogg or MP3 file, at most 6 MB", file_types=list(parts.SUFFIXES), type="filepath",
                height=150, elem_id=f"{kind}-file",
            )
        }  # fmt: skip
        found[f"{kind}_url"] = self._gr.Textbox(
            label="or its s3:// URL", placeholder="s3://", max_length=1200, elem_id=f"{kind}-url"
        )
        with self._gr.Row():
            for time, empty in (("start", "0"), ("end", "its end")):
                found[f"{kind}_{time}"] = self._gr.Textbox(
                    label=f"{time} (s)", placeholder=empty, max_length=20, min_width=100, elem_id=f"{kind}-{time}"
                )
        if kind == "continuation":
            found["return_excerpt"] = self._gr.Checkbox(
                True, label="the clips start with the excerpt", elem_id="return-excerpt"
            )
        return found


def _input(gr: Any, field: form.Field) -> Any:
    """Return the component of a parameter."""
    common: dict[str, Any] = {
        "label": field.label, "info": field.explanation, "value": field.initial, "elem_id": f"field-{field.name}",
    }  # fmt: skip
    if field.kind == "boolean":
        return gr.Checkbox(**common)
    if field.kind == "choice":
        return gr.Dropdown(**common, choices=list(field.choices))
    if field.kind == "text":
        return gr.Textbox(**common, max_length=1000)
    if field.optional:  # an empty gr.Number is 0
        return gr.Textbox(**common, max_length=20, placeholder="random")
    return gr.Slider(**common, minimum=field.minimum, maximum=field.maximum, step=field.step)
