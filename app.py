"""The page: theme, tabs, launch. `python app.py` serves it; RETSYNTH_WEIGHTS names another folder or Hub repository with weights."""

import os
from pathlib import Path

import gradio as gr

from retsynth.notebook import about, asset, compare, generate, load, translate, upscale
from retsynth.notebook.cell import PRIVATE, Page

HOME = Path(__file__).parent
SOURCE = os.environ.get("RETSYNTH_WEIGHTS", str(HOME / "weights"))
TABS = ("generate", "draw", "enlarge", "compare", "about")

TERRACOTTA = gr.themes.Color(
    "#fdf4ee", "#fae5d7", "#f4c8ab", "#eca577", "#f0955c", "#d4622a", "#a83f17", "#8f3516", "#732d17", "#5e2816", "#331209", name="terracotta"
)  # fmt: skip
THEME = gr.themes.Base(
    primary_hue=TERRACOTTA,
    secondary_hue=TERRACOTTA,
    neutral_hue=gr.themes.colors.stone,
    radius_size=gr.themes.sizes.radius_sm,
    font=[gr.themes.LocalFont("IBM Plex Sans"), "system-ui", "sans-serif"],
    font_mono=[gr.themes.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"],
).set(
    body_background_fill="#fbf9f6", body_background_fill_dark="#14110f", body_text_color="#241f1b", body_text_color_dark="#ece5dc",
    body_text_color_subdued="#655c54", body_text_color_subdued_dark="#b0a599", block_background_fill="#ffffff", block_background_fill_dark="#1b1714",
    block_label_text_color="#655c54", block_label_text_color_dark="#b0a599", block_title_text_color="#4a423b", block_title_text_color_dark="#cfc5b9",
    block_info_text_color="#655c54", block_info_text_color_dark="#b0a599", border_color_primary="#ddd4c8", border_color_primary_dark="#3a322b",
    block_border_color="#ddd4c8", block_border_color_dark="#3a322b", input_background_fill="#f6f2ec", input_background_fill_dark="#26201c",
    button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700", button_primary_text_color="#ffffff",
    button_primary_background_fill_dark="*primary_400", button_primary_background_fill_hover_dark="*primary_300", button_primary_text_color_dark="#1b0f08",
    button_secondary_background_fill="#efe9e0", button_secondary_background_fill_dark="#2b241f", button_secondary_text_color="#2f2822",
    button_secondary_text_color_dark="#ece5dc", slider_color="*primary_600", slider_color_dark="*primary_400", link_text_color="*primary_700",
    link_text_color_dark="*primary_400", input_placeholder_color="#746a61", input_placeholder_color_dark="#a0958a",
)  # fmt: skip


def opened(request: gr.Request) -> list:
    """What the address asks for: ?tab=draw&seed=7."""
    tab, seed = request.query_params.get("tab"), request.query_params.get("seed", "")
    seed = gr.update(value=int(seed)) if seed.isdecimal() else gr.skip()
    return [gr.update(selected=tab) if tab in TABS else gr.skip(), seed, seed]


def build() -> gr.Blocks:
    """Lay out the whole page; the models load meanwhile."""
    load(SOURCE)
    with gr.Blocks(title="retsynth", analytics_enabled=False, delete_cache=(3600, 3600)) as page_blocks:
        gr.HTML(about.MASTHEAD, js_on_load=None, apply_default_css=False)
        page = Page("weights" if Path(SOURCE).is_dir() else SOURCE)
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                made = generate.tab(page, HOME / "weights" / "examples")
            with gr.Tab("Draw or upload", id="draw", render_children=True):
                drawn = translate.tab(page)
            with gr.Tab("Super-resolve", id="enlarge"):
                large = upscale.tab(page)
            with gr.Tab("Compare", id="compare"):
                compared = compare.tab(page)
            with gr.Tab("About", id="about"):
                about.tab()
        page.finish()
        page_blocks.load(opened, None, [tabs, made.seed, drawn.tree_seed], queue=False, show_progress="hidden", **PRIVATE)
    return page_blocks


demo = build().queue(max_size=24)

if __name__ == "__main__":
    demo.launch(
        theme=THEME, css=asset("page.css"), head=f"<script>{asset('page.js')}</script>", max_file_size="10mb",
        enable_monitoring=False, run_history=False, allowed_paths=[], footer_links=[],
    )  # fmt: skip
