"""A page to play with: compare two texts, look at why they score as they do, map many texts.

python examples/app.py
python examples/app.py --model stable-diffusion-v1-5/stable-diffusion-v1-5 --device cuda

It needs the extras `app` and `plots`, the folder app_parts beside it, and no network with the
embedded model. Whoever opens the page on this machine may name any model. Under another --host, or
with --only-this-model (for a page behind a proxy), visitors may not: a name can download gigabytes
and open folders. There is no password.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import gradio as gr
from app_parts.answers import Answers
from app_parts.many import many_texts
from app_parts.pair import two_texts
from app_parts.settings import is_local

from conjure_st.process import WEIGHTINGS
from conjure_st.terminal import hush

INTRODUCTION = """\
# What do two texts conjure?

A text makes a text-to-image model draw. Two texts are as far apart as the two ways of drawing are:
the score is 1 for texts that are drawn alike, about ½ for unrelated ones.
"""

# Nothing is asked of any other machine, fonts included.
THEME = gr.themes.Base(
    primary_hue="blue",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")
CSS = """
.scores .score { font-size: 2.5rem; font-weight: 600; line-height: 1.2; }
.scores table { border: 0; border-collapse: collapse; }
.scores tr { border: 0; }
.scores :is(th, td) {
  padding: 0.2rem 1.2rem 0.2rem 0; border: 0; text-align: left; font-weight: 400;
}
.scores td { font-variant-numeric: tabular-nums; }
.figure img { padding-top: 2rem; background: white; }  /* below the buttons that lie over it */
"""


def build(answers: Answers) -> gr.Blocks:
    """The page."""
    kept = (3600, 86400)  # seconds: files are looked through hourly and go after a day
    with gr.Blocks(title="conjure-st", analytics_enabled=False, delete_cache=kept) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Accordion("Model and process", open=False):
            settings = _controls(answers)
        with gr.Tab("Two texts"):
            two_texts(answers, settings)
        with gr.Tab("Many texts"):
            many_texts(answers, settings)
    return page.queue(max_size=64)


def _controls(answers: Answers) -> list[Any]:
    """Widgets for the fields of Settings, in their order."""
    start = answers.settings()
    with gr.Row():
        model = gr.Textbox(
            start.model,
            label="Model",
            info="This page answers with this model alone."
            if answers.only
            else "picturebook (embedded), a diffusers model's id on the hub, a folder or a file",
            interactive=not answers.only,
            scale=2,
        )
        own = gr.Checkbox(
            start.own, label="The model's own settings", info="of a folder that conjure-st saved"
        )
    with gr.Row():
        gr.Markdown("Start from")
        presets = {name: gr.Button(name, size="sm", min_width=80) for name in ("paper", "fast")}
    with gr.Row():
        fields = [
            gr.Slider(1, 50, start.steps, step=1, label="Steps", info="of the sampler, T"),
            gr.Slider(1, 20, start.samples, step=1, label="Samples", info="trajectories a text, S"),
            gr.Slider(0.5, 15, start.guidance, step=0.5, label="Guidance", info="1 is none"),
            gr.Number(start.seed, precision=0, label="Seed", info="of all noise"),
        ]
    with gr.Row():
        fields += [
            gr.Dropdown(
                list(WEIGHTINGS),
                value=start.weighting,
                label="Weighting of steps",
                info="girsanov: the exact divergence, in nats",
            ),
            gr.Textbox(
                start.compared,
                label="Steps compared",
                info="numbers such as 1, 4; 0 is the noisiest, nothing is all",
            ),
        ]
    for name, button in presets.items():
        values = list(answers.settings(name)[2:])
        button.click(lambda values=values: values, None, fields, api_visibility="private")
    return [model, own, *fields]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device", help="cpu, cuda, …")
    parser.add_argument("--dtype", help="of the network, such as float16")
    parser.add_argument("--cache", help="folder where evaluations are kept; off is in memory only")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 opens it to the network")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--only-this-model", action="store_true")
    parser.add_argument("--most-evaluations", type=int, default=50_000, help="of one answer")
    a = parser.parse_args()
    hush(quiet=False)
    answers = Answers(
        a.model,
        only=a.only_this_model or not is_local(a.host),
        most=a.most_evaluations,
        cache=a.cache,
        device=a.device,
        dtype=a.dtype,
    )
    try:
        for sentence in answers.load(answers.settings()):
            print(f"warning: {sentence}", file=sys.stderr)
        page = build(answers)
        print(f"The page is at http://{a.host}:{a.port}. Ctrl+C ends it.", flush=True)
        page.launch(
            quiet=True,
            server_name=a.host,
            server_port=a.port,
            share=False,
            ssr_mode=False,
            theme=THEME,
            css=CSS,
            footer_links=["api", "settings"],
        )
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"app.py: {error}")


if __name__ == "__main__":
    main()
