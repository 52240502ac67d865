"""The page: theme, tabs, launch. `python app.py` serves it; RETSYNTH_WEIGHTS names another folder or Hub repository with weights."""

import gc
import os
from importlib.util import find_spec
from pathlib import Path

gc.disable()  # what is imported stays: to look through it for garbage time and again is a tenth of the start

import gradio as gr

from retsynth.notebook import about, asset, carry, compare, generate, load, translate, upscale
from retsynth.notebook.cell import PRIVATE, Page
from retsynth.notebook.theme import THEME

HOME = Path(__file__).parent
SOURCE = os.environ.get("RETSYNTH_WEIGHTS", str(HOME / "weights"))
TABS = ("generate", "draw", "enlarge", "compare", "about")


def asked_tab(request: gr.Request) -> gr.Tabs:
    """The tab that the address asks for: ?tab=draw."""
    tab = request.query_params.get("tab")
    return gr.Tabs(selected=tab) if tab in TABS else gr.skip()


def build() -> gr.Blocks:
    """Lay out the whole page; the models load meanwhile."""
    load(SOURCE)
    with gr.Blocks(title="retsynth", analytics_enabled=False, delete_cache=(3600, 3600)) as page_blocks:
        gr.HTML(about.MASTHEAD, js_on_load=None, apply_default_css=False)
        page = Page()
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                made = generate.tab(page)
            with gr.Tab("Draw or upload", id="draw", render_children=True):
                drawn = translate.tab(page)
            with gr.Tab("Super-resolve", id="enlarge"):
                large = upscale.tab(page)
            with gr.Tab("Compare", id="compare"):
                compared = compare.tab(page)
            with gr.Tab("About", id="about"):
                about.tab()
        carry.connect(tabs, made, drawn, large, compared)
        page.finish()
        page_blocks.cells = page.cells
        for tab in tabs.children:
            tab.select(None, js=f"() => retsynth.address('{tab.id}')", **PRIVATE)
        quick = {"queue": False, "show_progress": "hidden", **PRIVATE}
        there = page_blocks.load(asked_tab, None, tabs, **quick).then(None, js="() => retsynth.mounted()", **PRIVATE)
        there = there.then(translate.restored, drawn.kept, drawn.look, js="() => [retsynth.kept()]", **quick)
        seeds = [made.seed, drawn.tree_seed]
        there = there.then(None, seeds, seeds, js="(...seeds) => retsynth.asked(seeds)", show_progress="hidden", **PRIVATE)
        there.then(None, js="() => retsynth.open()", **PRIVATE)
    return page_blocks


demo = build().queue(max_size=24)
gc.freeze()  # nor look through it while the page serves
gc.enable()

if __name__ == "__main__":
    demo.launch(
        theme=THEME,
        css=asset("page.css"),
        head=f"<script>{asset('page.js')}</script>",
        max_file_size="10mb",
        state_session_capacity=256,  # visits whose state is kept; some 0.4 MB each, uploads aside
        enable_monitoring=False,
        run_history=False,
        allowed_paths=[],
        footer_links=[],
        favicon_path=HOME / "retsynth" / "notebook" / "favicon.svg",
        mcp_server=find_spec("mcp") is not None,  # for agents, where gradio[mcp] is installed
    )
