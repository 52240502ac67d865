"""The page in a real browser: each tab's main act, and what visitors do to it."""

import base64
import io
import json
import re
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from skimage.data import retina

from retsynth.images import read_mask, to_array

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "screenshots"
TABS = {"generate": "Generate", "draw": "Draw or upload", "enlarge": "Super-resolve", "compare": "Compare", "about": "About"}
ARCADE = [(0.3, 0.5), (0.35, 0.25), (0.6, 0.15), (0.8, 0.25)]
BRANCH = [(0.3, 0.5), (0.35, 0.75), (0.6, 0.85), (0.8, 0.75)]


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "retina.png"
    Image.fromarray(retina()).resize((240, 240)).save(path)
    return path


# --- what a visitor does ------------------------------------------------------------------------------------------------------------


def open_tab(page: Page, tab: str) -> None:
    """Press the tab, in the menu of those that do not fit where the page is narrow."""
    button = page.get_by_role("tab", name=TABS[tab], exact=True)
    if not button.is_visible():
        page.locator(".overflow-menu > button").click()
        button = page.locator(".overflow-dropdown button", has_text=TABS[tab])
    button.click()
    page.locator(f"#cell-{tab}, .about").locator("visible=true").first.wait_for()


def wait_for(page: Page, cell: str, number: int | None = None) -> None:
    """Until the cell is done, with the run of this number where one is given."""
    text = f"Out[{number}]:" if number else re.compile(r"Out\[\d+\]:")
    expect(page.locator(f"#cell-{cell} [data-state=done]")).to_have_count(1)
    expect(page.locator(f"#cell-{cell} .note .gutter")).to_have_text(text)


def run(page: Page, cell: str, number: int | None = None) -> None:
    page.locator(f"#cell-{cell} button.run").click()
    wait_for(page, cell, number)


def code(page: Page, cell: str) -> Locator:
    """The cell's code, unfolded."""
    fold = page.locator(f"#cell-{cell} .code > button")
    if fold.get_attribute("aria-expanded") == "false":
        fold.click()
    return page.locator(f"#cell-{cell} code")


def stroke(page: Page, points: list[tuple[float, float]]) -> None:
    """Draw with the mouse; points as parts of the canvas."""
    canvas = page.locator("#drawing canvas[data-ready=true]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def drawing(page: Page) -> str:
    page.locator("#drawing canvas[data-ready=true]").wait_for()
    return page.evaluate("document.querySelector('#drawing canvas').toDataURL('image/png')")


def fundus_address(page: Page) -> str | None:
    return page.evaluate("document.querySelector('#painted img')?.src ?? null")


def new_fundus(page: Page, old: str | None) -> str:
    """Wait for a fundus image other than `old`, loaded."""
    script = """old => {
      const image = document.querySelector('#painted img');
      return image && image.src !== old && image.complete && image.naturalWidth > 0 && image.src;
    }"""
    return page.wait_for_function(script, arg=old).json_value()


def pixels(page: Page, address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.request.get(address).body())).convert("RGB"))


# --- each tab's main act ------------------------------------------------------------------------------------------------------------


def test_generate(visit):
    page = visit()
    expect(page.locator("#cell-generate .gutter").first).to_have_text(re.compile(r"In.\[.\]:"))
    run(page, "generate", 1)
    expect(page.locator("#pairs .thumbnail-item img")).to_have_count(3)
    expect(page.locator("#cell-generate .note")).to_contain_text(re.compile(r"\d\.\d\d s · (CPU|CUDA) · seed 0"))
    page.get_by_label("Pairs").first.fill("2")
    expect(code(page, "generate")).to_contain_text("count=2")
    expect(page.locator("#cell-generate [data-state=stale]")).to_have_count(1)
    run(page, "generate", 2)
    expect(page.locator("#pairs .thumbnail-item img")).to_have_count(6)


def test_new_eye_draws_a_seed_and_runs_with_it(visit):
    page = visit()
    page.get_by_role("button", name="New eye").click()
    wait_for(page, "generate", 1)
    seed = page.get_by_label("Seed", exact=True).input_value()
    assert seed != "0"
    expect(page.locator("#cell-generate .note")).to_contain_text(f"seed {seed}")
    expect(code(page, "generate")).to_contain_text(f"({seed}, count=1")


def test_between_two_seeds(visit):
    page = visit()
    page.locator("#cell-between").get_by_label("Steps").first.fill("3")
    run(page, "between")
    expect(page.locator("#cell-between .thumbnail-item img")).to_have_count(3)
    film, pause = page.locator("#cell-between .film img"), page.get_by_role("button", name="Pause or play")
    assert film.evaluate("image => image.naturalWidth") > 0
    moving = film.get_attribute("src")
    pause.click()
    expect(film).to_have_attribute("src", re.compile("^data:image/png"))
    page.wait_for_function("image => image.naturalWidth > 0", arg=film.element_handle())
    pause.click()
    expect(film).to_have_attribute("src", moving)
    pause.click()
    page.get_by_label("To seed").fill("2")
    run(page, "between", 2)  # a new film moves, and pauses
    expect(film).not_to_have_attribute("src", re.compile("^data:"))
    pause.click()
    expect(film).to_have_attribute("src", re.compile("^data:image/png"))


def test_the_cells_below_begin_with_the_eye_that_was_made(visit):
    page = visit()
    page.get_by_role("button", name="New eye").click()
    wait_for(page, "generate", 1)
    seed = page.get_by_label("Seed", exact=True).input_value()
    for label in ("From seed", "Of seed"):
        expect(page.get_by_label(label)).to_have_value(seed)
    page.locator("#cell-vary").get_by_label("Variations").first.fill("1")
    run(page, "vary", 2)
    page.get_by_role("button", name="New eye").click()
    wait_for(page, "generate", 3)
    expect(page.get_by_label("From seed")).to_have_value(page.get_by_label("Seed", exact=True).input_value())
    expect(page.get_by_label("Of seed")).to_have_value(seed)
    expect(page.locator("#cell-vary [data-state=done]")).to_have_count(1)


def test_variations(visit):
    page = visit()
    page.locator("#cell-vary").get_by_label("Variations").first.fill("2")
    expect(code(page, "vary")).to_contain_text("range(2)")
    run(page, "vary")
    expect(page.locator("#cell-vary .thumbnail-item img")).to_have_count(2 * 3)  # each with its map


def test_a_stroke_changes_the_fundus_and_undo_takes_it_back(visit):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    first = new_fundus(page, None)
    stroke(page, BRANCH)
    second = new_fundus(page, first)
    assert (pixels(page, first) != pixels(page, second)).any()
    page.get_by_role("button", name="Undo").click()
    assert np.array_equal(pixels(page, new_fundus(page, second)), pixels(page, first))


def test_the_fundus_is_that_of_the_drawing(visit, tiny_pipeline):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    shown = pixels(page, new_fundus(page, None))
    mask = read_mask(base64.b64decode(drawing(page).partition(",")[2]))
    assert np.array_equal(shown, to_array(tiny_pipeline.translate(mask, style=0, seed=0)))


def test_the_fundus_stays_bright_while_a_slider_is_dragged(visit):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    first = new_fundus(page, None)
    page.evaluate("""() => {
      const draw = document.querySelector('#cell-draw');
      new MutationObserver(() => { window.dimmed ||= !!draw.querySelector('[data-state=stale]'); })
        .observe(draw, {subtree: true, childList: true, attributes: true});
    }""")
    slider = page.get_by_label("range slider for Brightness")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    shown = first
    for part in (0.6, 0.7, 0.8):  # each image while the hand is still on the slider
        page.mouse.move(box["x"] + part * box["width"], middle, steps=4)
        shown = new_fundus(page, shown)
    page.mouse.up()
    wait_for(page, "draw")
    assert not page.evaluate("window.dimmed")
    assert pixels(page, fundus_address(page)).mean() > pixels(page, first).mean()


def test_drawing_without_a_pointer(visit):
    page = visit("?tab=draw")
    before = drawing(page)
    page.locator("#drawing canvas").focus()
    for key in ["Space", *["ArrowRight"] * 12, *["ArrowUp"] * 12, "Space"]:
        page.keyboard.press(key)
    new_fundus(page, None)
    assert drawing(page) != before


def test_tools(visit):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    drawn = drawing(page)
    page.get_by_role("button", name="Mirror").click()
    mirrored = drawing(page)
    as_array = lambda url: np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L"))  # noqa: E731
    assert np.array_equal(as_array(mirrored), as_array(drawn)[:, ::-1])
    page.get_by_role("button", name="Undo").click()
    assert drawing(page) == drawn
    page.get_by_role("button", name="Redo").click()
    assert drawing(page) == mirrored
    page.get_by_role("button", name="Eraser").click()
    stroke(page, [(1 - x, y) for x, y in ARCADE])
    assert as_array(drawing(page)).mean() < as_array(mirrored).mean() / 2
    page.get_by_role("button", name="New drawing").click()
    assert as_array(drawing(page)).max() == 0
    expect(page.locator("#cell-draw .note")).to_contain_text("The map is blank")
    expect(page.locator("#cell-draw [data-state=idle]")).to_have_count(1)
    expect(page.locator("#painted img")).to_have_count(0)  # no eye stands beside an empty map
    expect(page.get_by_role("button", name="Pen", exact=True)).to_have_attribute("aria-pressed", "true")  # the eraser would draw nothing


def test_a_drawing_can_start_from_a_tree_or_an_upload(visit, tmp_path, vessel_tree):
    page = visit("?tab=draw")
    blank = drawing(page)
    page.get_by_role("button", name="Take this tree").click()
    first = new_fundus(page, None)
    tree = drawing(page)
    assert tree != blank
    Image.fromarray(~vessel_tree(5)).save(tmp_path / "dark on light.png")
    page.locator("#cell-draw input[type=file]").first.set_input_files(tmp_path / "dark on light.png")
    new_fundus(page, first)
    shown = read_mask(base64.b64decode(drawing(page).partition(",")[2]))
    assert np.array_equal(to_array(shown) > 0, vessel_tree(5))


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_map_can_be_dropped_or_pasted_on_the_sheet(visit, way, vessel_tree):
    file = io.BytesIO()
    Image.fromarray(vessel_tree(5)).save(file, "PNG")
    page = visit("?tab=draw")
    drawing(page)
    given = """([way, data]) => {
      const transfer = new DataTransfer(), bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
      transfer.items.add(new File([bytes], "map.png", { type: "image/png" }));
      const options = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
      const event = way === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
      return document.querySelector("#drawing canvas").dispatchEvent(event);
    }"""
    assert not page.evaluate(given, [way, base64.b64encode(file.getvalue()).decode()]), "the browser would open the file"
    new_fundus(page, None)
    shown = read_mask(base64.b64decode(drawing(page).partition(",")[2]))
    assert np.array_equal(to_array(shown) > 0, vessel_tree(5))


def test_super_resolve(visit, photo):
    page = visit("?tab=enlarge")
    page.locator("#cell-enlarge input[type=file]").set_input_files(photo)
    page.get_by_label("Halve it first").check()
    expect(code(page, "enlarge")).to_contain_text("reference.resize")
    expect(page.locator("#cell-enlarge .image-frame img")).to_be_visible()
    run(page, "enlarge")
    expect(page.locator("#cell-enlarge table")).to_contain_text("EDSR")
    expect(page.locator("#before-after img")).to_have_count(2)
    inked = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, 120, 120).data).size > 50"
    for pane in page.locator(".loupe canvas").all():
        page.wait_for_function(inked, arg=pane.element_handle())
    divider, shown = page.locator("#divider input[type=range]"), page.locator("#before-after img.fixed")
    divider.focus()
    page.keyboard.press("ArrowRight")
    expect(shown).to_have_attribute("style", re.compile(r"inset\(0px 0px 0px 51%\)"))
    page.locator("#before-after").scroll_into_view_if_needed()
    handle, picture = page.locator("#before-after [data-testid=slider]").bounding_box(), shown.bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 90)
    page.mouse.down()
    page.mouse.move(picture["x"] + 0.8 * picture["width"], handle["y"] + 90, steps=6)
    page.mouse.up()
    expect(divider).to_have_value("80")
    page.mouse.move(0, 0)  # away from the loupe, wherever that comes to lie
    centred = """() => {
      const [lens, image] = ['.lens', '.loupe img'].map((name) => document.querySelector(name).getBoundingClientRect());
      return lens.width > 5 && Math.abs((lens.x + lens.width / 2 - image.x) / image.width - 0.5) < 0.05;
    }"""
    for width in (1280, 800):  # the loupe stays where it is in the image
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(centred)


def test_compare(visit, photo, tmp_path):
    mirrored = tmp_path / "mirrored.jpg"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    page = visit("?tab=compare")
    page.locator("#cell-compare input[type=file]").nth(1).set_input_files([photo, mirrored])
    expect(page.locator("#cell-compare .controls .thumbnail-item img")).to_have_count(2)
    run(page, "compare")
    expect(page.locator("#cell-compare .out .thumbnail-item img")).to_have_count(2)
    values = [float(text) for text in re.findall(r"SSIM ([\d.]+)", page.locator("#cell-compare .out").inner_text())]
    assert values[0] > values[1]
    expect(page.locator("svg.strip-plot")).to_have_attribute("aria-label", re.compile("your candidates .* plain disc"))


def test_an_upload_of_a_kind_that_browsers_do_not_show_is_seen(visit, photo, tmp_path):
    seen = "selector => [...document.querySelectorAll(selector)].some((image) => image.complete && image.naturalWidth)"
    Image.open(photo).save(tmp_path / "photo.tif")  # as DRIVE's are
    page = visit("?tab=enlarge")
    page.locator("#cell-enlarge input[type=file]").set_input_files(tmp_path / "photo.tif")
    page.wait_for_function(seen, arg="#cell-enlarge .image-frame img")
    run(page, "enlarge")
    page = visit("?tab=compare")
    page.locator("#cell-compare input[type=file]").nth(1).set_input_files(tmp_path / "photo.tif")
    page.wait_for_function(seen, arg="#cell-compare .controls .thumbnail-item img")
    run(page, "compare")
    expect(page.locator("#cell-compare .out .thumbnail-item img")).to_have_count(1)


def test_candidates_keep_the_names_of_their_places(visit, photo):
    page = visit("?tab=compare")
    page.locator("#cell-compare input[type=file]").nth(1).set_input_files([photo] * 3)
    names = page.locator("#cell-compare .controls .caption-label")
    expect(names).to_have_text(["candidate 1", "candidate 2", "candidate 3"])
    run(page, "compare")
    page.locator("#cell-compare .controls .thumbnail-item").first.hover()
    page.locator("#cell-compare .controls [aria-label*=elete], #cell-compare .controls [aria-label*=emove]").first.click()
    expect(names).to_have_text(["candidate 1", "candidate 2"])
    expect(page.locator("#cell-compare [data-state=stale]")).to_have_count(1)


def test_compare_vessel_maps(visit, tmp_path, vessel_tree):
    for i in (1, 2):
        Image.fromarray(vessel_tree(i)).save(tmp_path / f"{i}.png")
    page = visit("?tab=compare")
    page.get_by_label("Vessel maps").check()
    page.locator("#cell-compare input[type=file]").nth(0).set_input_files(tmp_path / "1.png")
    page.locator("#cell-compare input[type=file]").last.set_input_files([tmp_path / "2.png"])
    expect(page.locator("#cell-compare .controls img")).to_have_count(2)
    run(page, "compare")
    expect(page.locator("#cell-compare table")).to_contain_text("junctions")
    expect(page.locator("svg.strip-plot")).to_have_attribute("aria-label", re.compile("blank map"))


def test_about_says_what_it_is_not_for(visit):
    page = visit("?tab=about")
    expect(page.locator(".about")).to_contain_text("Not for diagnosis")
    run_all = page.get_by_role("button", name="Run all")
    expect(run_all).to_be_hidden()  # there is nothing to run
    open_tab(page, "compare")
    expect(run_all).to_be_visible()


# --- from tab to tab, from visit to visit -------------------------------------------------------------------------------------------


def test_an_eye_is_carried_on(visit, tiny_pipeline):
    page = visit()
    page.get_by_label("Seed", exact=True).fill("1234567")
    page.get_by_label("Seed", exact=True).press("Enter")
    wait_for(page, "generate", 1)
    page.get_by_role("button", name="Edit its vessels").click()
    expect(page.locator("#cell-draw")).to_be_visible()
    expect(page.locator("#cell-draw [data-state=done]")).to_have_count(1)
    expect(code(page, "draw")).to_contain_text("pipe.style(1234567)")
    mask = read_mask(base64.b64decode(drawing(page).partition(",")[2]))
    made, shown = to_array(tiny_pipeline.translate(mask, style=1234567, seed=1234567)), new_fundus(page, None)
    while not np.array_equal(pixels(page, shown), made):  # its appearance and grain as well, once the last of the changes is painted
        shown = new_fundus(page, shown)
    page.locator("#cell-draw").get_by_role("button", name="Enlarge it").click()
    expect(page.locator("#cell-enlarge .image-frame img")).to_be_visible()
    wait_for(page, "enlarge")
    open_tab(page, "compare")
    page.get_by_role("button", name="Take the generated").click()
    expect(page.locator("#cell-compare .controls .thumbnail-item img")).to_have_count(1)


def test_the_page_says_which_of_several_eyes_is_carried_on(visit):
    page = visit()
    page.get_by_label("Pairs").first.fill("2")
    run(page, "generate", 1)
    expect(page.locator("#pairs .thumbnail-item img")).to_have_count(6)
    expect(page.locator(".choose").first).to_contain_text("the eye you clicked last, else the first")
    page.locator("#pairs .thumbnail-item").nth(4).click()
    expect(page.locator(".choose").first).to_contain_text("The buttons take eye 1, which you clicked")
    run(page, "generate", 2)
    expect(page.locator(".choose").first).to_contain_text("the eye you clicked last, else the first")


def test_tab_away_and_back_keeps_the_drawing(visit):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    new_fundus(page, None)
    drawn = drawing(page)
    open_tab(page, "about")
    open_tab(page, "draw")
    assert drawing(page) == drawn
    old = fundus_address(page)
    stroke(page, BRANCH)
    new_fundus(page, old)


def test_a_drawing_outlives_a_reload(visit):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    new_fundus(page, None)
    drawn = drawing(page)
    page.reload()
    page.locator("#drawing canvas[data-ready=true]").wait_for()
    new_fundus(page, None)
    assert drawing(page) == drawn


def test_the_look_of_a_drawing_outlives_a_reload(visit, tiny_pipeline):
    page = visit("?tab=generate&seed=75932")
    wait_for(page, "generate", 1)
    page.get_by_role("button", name="Edit its vessels").click()
    new_fundus(page, None)
    page.get_by_label("number input for Brightness").fill("1.5")
    page.get_by_label("number input for Brightness").press("Enter")
    page.wait_for_function("() => sessionStorage.getItem('retsynth-look') === '[75932,75932,1.5,0,0]'")
    drawn = read_mask(base64.b64decode(drawing(page).partition(",")[2]))
    page.reload()
    expect(page.get_by_label("number input for Brightness")).to_have_value("1.5")
    expect(page.get_by_label("number input for Appearance seed")).to_have_value("75932")
    style = tiny_pipeline.adjust(tiny_pipeline.style(75932), brightness=1.5)
    painted, address = to_array(tiny_pipeline.translate(drawn, style=style, seed=75932)), None
    while not np.array_equal(pixels(page, address := new_fundus(page, address)), painted):  # at first as the page begins
        pass


def test_two_visitors_see_only_their_own(visit, tiny_pipeline):
    pages, strokes = [visit("?tab=draw"), visit("?tab=draw")], [ARCADE, BRANCH]
    for page, points in zip(pages, strokes, strict=True):  # neither waits for the other
        stroke(page, points)
    for page in pages:
        shown = pixels(page, new_fundus(page, None))
        mask = read_mask(base64.b64decode(drawing(page).partition(",")[2]))
        assert np.array_equal(shown, to_array(tiny_pipeline.translate(mask, style=0, seed=0)))
        expect(page.locator("#cell-draw .note .gutter")).to_have_text("Out[1]:")
    assert drawing(pages[0]) != drawing(pages[1])


def test_an_address_opens_its_state(visit):
    page = visit("?tab=draw&seed=12")
    expect(page.locator("#cell-draw")).to_be_visible()
    expect(page.get_by_label("Start from the tree of seed")).to_have_value("12")
    new_fundus(page, None)  # the tree of that seed is on the canvas already
    open_tab(page, "compare")
    page.wait_for_url(re.compile(r"tab=compare"))
    page = visit("?tab=generate&seed=13")
    wait_for(page, "generate", 1)
    expect(page.locator("#cell-generate .note")).to_contain_text("seed 13")


def test_the_notebook_file_can_be_downloaded(visit, tmp_path):
    page = visit()
    run(page, "generate")
    button = page.locator("#notebook")
    for seed in (0, 5):  # what ran last, each time
        if seed:
            page.get_by_label("Seed", exact=True).first.fill(str(seed))
            page.get_by_label("Seed", exact=True).first.press("Enter")
            wait_for(page, "generate", 2)
        expect(button).to_be_enabled()
        with page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == "retsynth.ipynb"
        download.value.save_as(tmp_path / "run.ipynb")
        notebook = nbformat.read(tmp_path / "run.ipynb", as_version=4)
        nbformat.validate(notebook)
        assert f"({seed}, count=1" in notebook.cells[-1].source and notebook.cells[-1].outputs


def test_an_eye_that_is_carried_on_is_worked_on_at_once(visit, photo):
    page = visit("?tab=enlarge")
    page.locator("#cell-enlarge input[type=file]").set_input_files(photo)
    expect(page.locator("#cell-enlarge .image-frame img")).to_be_visible()
    run(page, "enlarge")
    open_tab(page, "compare")
    page.locator("#cell-compare input[type=file]").nth(1).set_input_files([photo, photo])
    expect(page.locator("#cell-compare .controls .thumbnail-item img")).to_have_count(2)
    run(page, "compare")
    for cell in ("enlarge", "compare"):  # to look elsewhere changes nothing
        open_tab(page, cell)
        expect(page.locator(f"#cell-{cell} [data-state=done]")).to_have_count(1)
    open_tab(page, "generate")
    run(page, "generate")
    for number, (button, cell) in enumerate((("Enlarge it", "enlarge"), ("Compare it", "compare")), start=4):
        page.locator("#cell-generate").get_by_role("button", name=button).click()
        wait_for(page, cell, number)
        page.wait_for_function(f"document.querySelector('#cell-{cell} .note-block').getBoundingClientRect().top < innerHeight")
        open_tab(page, "generate")


def test_until_a_run_gives_its_first_eye_the_last_ones_are_dimmed(visit):
    page = visit()
    run(page, "generate", 1)
    page.get_by_label("Pairs").first.fill("4")
    page.evaluate("""() => {
      window.seen = [];  // at each frame: the cell's state, whether the pictures are this run's, how many there are
      const cell = document.querySelector("#cell-generate"), look = () => {
        const state = cell.querySelector("[data-state]").dataset.state, images = document.querySelectorAll("#pairs img");
        window.seen.push([state, cell.classList.contains("fresh"), images.length]);
        requestAnimationFrame(look);
      };
      look();
    }""")
    run(page, "generate", 2)
    seen = page.evaluate("window.seen")
    assert ["running", False, 3] in seen, "the eye of the run before"
    assert ["running", True, 6] in seen and ["running", False, 6] not in seen, "two of the run's four"
    assert seen[-1] == ["done", True, 12]


def test_what_cannot_be_carried_on_is_said(visit):
    page = visit("?tab=draw")
    page.locator("#cell-draw").get_by_role("button", name="Enlarge it").click()
    expect(page.locator(".toast-body")).to_contain_text("There is no fundus image yet")
    expect(page.locator("#cell-draw")).to_be_visible()


def test_a_refused_upload_is_said_where_it_is_seen(visit, photo):
    page = visit("?tab=draw")
    page.locator("#cell-draw input[type=file]").first.set_input_files(photo)
    expect(page.locator(".toast-body")).to_contain_text("this looks like a photograph")
    expect(page.locator("#cell-draw .note.error")).to_contain_text("This looks like a photograph")


def test_a_refused_upload_leaves_the_drawing_and_its_fundus_as_they_were(visit, photo):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    new_fundus(page, None)
    drawn = drawing(page)
    page.locator("#cell-draw input[type=file]").first.set_input_files(photo)
    expect(page.locator("#cell-draw .note.error")).to_contain_text("This looks like a photograph")
    assert drawing(page) == drawn
    expect(page.locator("#painted img")).to_have_css("opacity", "1")
    stroke(page, BRANCH)
    expect(page.locator("#cell-draw .note.error")).to_be_hidden()


def test_while_a_photographs_appearance_is_taken_no_seed_of_one_can_be_set(visit, photo):
    page = visit("?tab=draw")
    page.get_by_text("Take the appearance of a photograph").click()
    expect(page.get_by_label("Appearance seed").first).to_be_enabled()
    page.locator("#cell-draw .block input[type=file]").last.set_input_files(photo)
    expect(page.get_by_label("Appearance: the photograph's").first).to_be_disabled()


def test_an_empty_sheet_shows_where_disc_and_macula_are(visit):
    page = visit("?tab=draw")
    guide = page.locator("#drawing .guide")
    expect(guide).to_be_visible()
    stroke(page, ARCADE)
    expect(guide).to_be_hidden()
    page.get_by_role("button", name="New drawing").click()
    expect(guide).to_be_visible()


def test_the_keyboards_pen_tells_whether_it_is_down(visit):
    page = visit("?tab=draw")
    page.locator("#drawing canvas[data-ready=true]").focus()
    page.keyboard.press("Space")
    expect(page.locator("#drawing .nib.down")).to_have_count(1)
    expect(page.locator("#drawing [role=status]")).to_have_text("Pen down")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#drawing .nib.down")).to_have_count(1)
    page.keyboard.press("Space")
    expect(page.locator("#drawing [role=status]")).to_have_text("Pen up")
    expect(page.locator("#drawing .nib.down")).to_have_count(0)


def test_new_eyes_are_carried_on_from_the_first(visit):
    page = visit()
    page.get_by_label("Pairs").first.fill("2")
    run(page, "generate", 1)
    page.locator("#pairs .thumbnail-item img").nth(4).click()
    page.keyboard.press("Escape")
    run(page, "generate", 2)
    page.locator("#cell-generate").get_by_role("button", name="Enlarge it").click()
    expect(page.locator("#cell-enlarge .image-frame img")).to_have_attribute("src", re.compile("0000_fundus"))


def test_a_tree_that_the_address_asked_for_outlives_a_reload_with_what_was_drawn_on_it(visit):
    page = visit("?tab=draw&seed=12")
    first = new_fundus(page, None)
    stroke(page, ARCADE)
    new_fundus(page, first)
    drawn = drawing(page)
    page.reload()
    new_fundus(page, None)
    assert drawing(page) == drawn


def test_the_address_and_the_code_follow_the_seed(visit):
    page = visit("?tab=generate&seed=13")
    wait_for(page, "generate", 1)
    page.get_by_label("Seed", exact=True).fill("2.5")
    expect(code(page, "generate")).to_contain_text("(2, count=1")
    assert page.url.endswith("seed=13")  # the eye that is shown
    run(page, "generate", 2)
    page.wait_for_url(re.compile("seed=2$"))  # which the box shows as 2.5
    page.get_by_role("button", name="New eye").click()
    wait_for(page, "generate", 3)
    seed = page.get_by_label("Seed", exact=True).input_value()
    page.wait_for_url(re.compile(f"seed={seed}$"))


def test_the_address_asks_for_a_seed_that_exists_or_for_none(visit):
    page = visit()
    found = "asked => { history.replaceState(null, '', '?seed=' + asked); return retsynth.seed(); }"
    assert [page.evaluate(found, asked) for asked in ("7", "4294967295")] == [7, 4294967295]
    assert [page.evaluate(found, asked) for asked in ("4294967296", "9" * 5000, "x", "-5", "1.5", "")] == [None] * 6


def test_a_visitor_who_is_quicker_than_the_page_keeps_the_seed_that_was_chosen(visit):
    page = visit("?seed=7", init="const soon = setInterval(() => { if (window.retsynth) clearInterval(soon), retsynth.used = true; });")
    page.wait_for_function("window.retsynth?.opened")
    assert page.get_by_label("Seed", exact=True).input_value() == "0"
    expect(page.locator("#cell-generate [data-state=idle]")).to_have_count(1)


def test_the_address_leads_to_the_eye_again_when_its_tab_is_in_view_again(visit):
    page = visit("?tab=generate&seed=13")
    wait_for(page, "generate", 1)
    page.get_by_role("tab", name="About").click()
    page.wait_for_url(lambda url: "tab=about" in url and "seed=" not in url)
    page.get_by_role("tab", name="Generate").click()
    page.wait_for_url(re.compile("seed=13"))
    page.locator("#cell-generate").get_by_role("button", name="Clear output").click()
    page.wait_for_url(lambda url: "seed=" not in url)  # there is no eye to lead back to
    expect(page.get_by_text("The address of this page leads back")).to_be_hidden()


def test_an_eye_can_be_shared_by_its_address(visit):
    page = visit()
    page.get_by_role("button", name="New eye").click()
    wait_for(page, "generate", 1)
    seed = page.get_by_label("Seed", exact=True).input_value()
    page.wait_for_url(re.compile(f"seed={seed}$"))
    page.reload()
    wait_for(page, "generate", 1)
    expect(page.locator("#cell-generate .note")).to_contain_text(f"seed {seed}")
    page.get_by_text("Prior, appearance, size").click()
    page.get_by_label("left", exact=True).check()
    run(page, "generate", 2)
    page.wait_for_url(lambda url: "seed=" not in url)  # which would lead to another eye
    expect(page.get_by_text("The address of this page leads back")).to_be_hidden()


def test_back_goes_to_the_tab_before(visit):
    page = visit("?tab=draw")
    stroke(page, ARCADE)
    new_fundus(page, None)
    open_tab(page, "compare")
    page.wait_for_url(re.compile("tab=compare"))
    page.go_back()
    expect(page.locator("#cell-draw")).to_be_visible()
    expect(page.locator("#painted img")).to_be_visible()
    page.go_forward()
    expect(page.locator("#cell-compare")).to_be_visible()


def test_a_look_at_the_options_changes_nothing(visit):
    page = visit()
    options = page.get_by_role("button", name="Prior, appearance, size")
    expect(options).to_have_attribute("aria-expanded", "false")
    options.click()
    expect(options).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_label("Appearance seed").first).to_have_value("-1")
    expect(code(page, "generate")).to_contain_text("style_seed=None")
    run(page, "generate", 1)
    address = page.locator("#pairs .thumbnail-item img").nth(1).get_attribute("src")
    assert Image.open(io.BytesIO(page.request.get(address).body())).text["style_seed"] == "own"
    expect(code(page, "generate")).to_contain_text("style_seed=None")
    page.get_by_label("Appearance seed").first.fill("3")
    run(page, "generate", 2)
    expect(code(page, "generate")).to_contain_text("style_seed=3")
    page.get_by_label("Appearance seed").first.fill("")
    expect(code(page, "generate")).to_contain_text("style_seed=None")


def test_the_theme_outlives_a_reload(visit):
    page = visit()
    before = page.evaluate("document.body.classList.contains('dark')")
    page.get_by_role("button", name="Light / dark").click()
    page.reload()
    page.locator(".cell").locator("visible=true").first.wait_for()
    page.wait_for_function("before => document.body.classList.contains('dark') !== before", arg=before)


# --- when things go otherwise -------------------------------------------------------------------------------------------------------


def test_stop(visit):
    page = visit()
    page.get_by_label("Pairs").first.fill("8")
    expect(code(page, "generate")).to_contain_text("count=8")
    page.locator("#cell-generate button.run").click()
    expect(page.locator("#cell-generate .gutter").first).to_have_text(re.compile(r"In.\[\*\]:"))
    expect(page.locator("#pairs .thumbnail-item img")).not_to_have_count(0)
    page.locator("#cell-generate button.stop").click()
    expect(page.locator("#cell-generate [data-state=stopped]")).to_have_count(1)
    assert page.locator("#pairs .thumbnail-item img").count() < 24
    expect(page.locator("#cell-generate .note")).to_have_text("Stopped")
    expect(page.get_by_role("button", name="ZIP")).to_be_disabled()
    page.get_by_label("Pairs").first.fill("1")
    expect(code(page, "generate")).to_contain_text("count=1")
    run(page, "generate", 1)
    expect(page.locator("#pairs .thumbnail-item img")).to_have_count(3)


def test_results_of_a_seed_that_was_changed_meanwhile_are_stale(visit):
    page = visit()
    page.get_by_label("Pairs").first.fill("3")
    expect(code(page, "generate")).to_contain_text("count=3")
    page.locator("#cell-generate button.run").click()
    expect(page.locator("#cell-generate [data-state=running]")).to_have_count(1)
    page.get_by_label("Seed", exact=True).fill("123")
    expect(code(page, "generate")).to_contain_text("(123, count=3")
    expect(page.locator("#cell-generate [data-state=stale]")).to_have_count(1)
    expect(page.locator("#cell-generate .note")).to_contain_text("seed 0")


def test_run_all_and_clear_all(visit):
    page = visit()
    page.locator("#cell-between").get_by_label("Steps").first.fill("3")
    page.get_by_role("button", name="Run all").click()
    wait_for(page, "generate", 1)
    wait_for(page, "between", 2)
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("[data-state=done]")).to_have_count(0)
    expect(page.locator("#pairs .thumbnail-item img")).to_have_count(0)


def test_clear_ends_a_run(visit):
    page = visit()
    page.get_by_label("Pairs").first.fill("8")
    expect(code(page, "generate")).to_contain_text("count=8")
    page.locator("#cell-generate button.run").click()
    expect(page.locator("#pairs .thumbnail-item img")).not_to_have_count(3)  # those of the sample on the page
    page.locator("#cell-generate button.clear").click()
    expect(page.locator("#cell-generate [data-state=idle]")).to_have_count(1)
    open_tab(page, "draw")  # a run of another cell waits until that one is over
    stroke(page, ARCADE)
    new_fundus(page, None)
    open_tab(page, "generate")
    expect(page.locator("#cell-generate [data-state=idle]")).to_have_count(1)
    expect(page.locator("#pairs .thumbnail-item img")).to_have_count(0)


def test_a_second_finger_is_no_stroke(visit):
    page = visit("?tab=draw", width=390, height=1000, has_touch=True, is_mobile=True)
    blank = drawing(page)
    page.locator("#drawing canvas").scroll_into_view_if_needed()
    box, fingers = page.locator("#drawing canvas").bounding_box(), page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i} for i, (x, y) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.3, 0.3))
    touch("touchStart", (0.3, 0.3), (0.7, 0.7))
    touch("touchMove", (0.4, 0.3), (0.6, 0.7))
    touch("touchEnd")
    assert drawing(page) == blank
    touch("touchStart", (0.3, 0.3))
    touch("touchMove", (0.6, 0.3))
    touch("touchEnd")
    assert drawing(page) != blank


def test_the_code_can_be_copied_where_the_clipboard_is_out_of_reach(visit):
    page = visit()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    code(page, "generate").hover()
    page.locator("#cell-generate .copy").click()
    assert "Pipeline.from_pretrained" in page.evaluate("getSelection().toString()")


def test_an_error_is_one_sentence_in_the_cell(visit, tmp_path):
    page = visit("?tab=enlarge")
    page.locator("#cell-enlarge button.run").click()
    error = page.locator("#cell-enlarge .note.error")
    expect(error).to_have_text("There is no image yet: upload one, or press 'Enlarge it' under a generated eye.")
    expect(page.locator("#cell-enlarge [data-state=error]")).to_have_count(1)
    page.get_by_label("Halve it first").check()  # it may be as it should now
    expect(error).to_be_hidden()
    page.locator("#cell-enlarge button.run").click()
    expect(error).to_be_visible()
    (tmp_path / "not an image.png").write_text("hello")
    page.locator("#cell-enlarge input[type=file]").set_input_files(tmp_path / "not an image.png")
    expect(page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first).to_be_visible()
    page.locator("#cell-enlarge button.run").click()
    expect(error).not_to_contain_text("no image yet")
    text = page.locator("body").inner_text()
    assert "Traceback" not in text and str(tmp_path) not in text and "/tmp" not in text and str(ROOT) not in text


def test_a_phone_photograph_stands_upright(visit, tmp_path):
    upright = Image.fromarray(retina()).crop((0, 0, 600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees to see it so
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    page = visit("?tab=enlarge", width=390, height=844, has_touch=True, is_mobile=True)
    page.locator("#cell-enlarge input[type=file]").set_input_files(tmp_path / "phone.jpg")
    expect(page.locator("#cell-enlarge .image-frame img")).to_be_visible()
    run(page, "enlarge")
    expect(page.locator("#cell-enlarge .out")).to_contain_text("1200 x 1600 px")


def test_shift_enter_runs_the_cell(visit):
    page = visit()
    page.get_by_label("Seed", exact=True).fill("21")
    page.keyboard.press("Shift+Enter")
    wait_for(page, "generate", 1)
    expect(page.locator("#cell-generate .note")).to_contain_text("seed 21")
    open_tab(page, "about")  # which has nothing to run
    page.locator(".about a").first.focus()
    page.keyboard.press("Shift+Enter")


def test_the_keyboard_sees_the_pen_and_undoes_from_any_tool(visit):
    page = visit("?tab=draw")
    drawn = drawing(page)
    page.locator("#drawing [data-act=blank]").focus()
    page.keyboard.press("Tab")
    nib, sheet = page.locator("#drawing .nib").bounding_box(), page.locator("#drawing canvas").bounding_box()
    assert abs(nib["x"] + nib["width"] / 2 - sheet["x"] - sheet["width"] / 2) < 2, "in the middle, where the pen is"
    stroke(page, ARCADE)
    page.locator("#drawing [data-tool=pen]").click()
    page.keyboard.press("Control+z")
    assert drawing(page) == drawn


# --- looks --------------------------------------------------------------------------------------------------------------------------

LOOKS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"width": 390, "height": 844, "is_mobile": True, "has_touch": True},
}
CONTRAST = """() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 0.9) return c; }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.querySelector(".gradio-container"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest("svg, #before-after, [disabled], button.stop, .toast-wrap, style, script")) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.className} ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return faint;
}"""


@pytest.mark.parametrize("width", [880, 1000, 1280])
def test_nothing_covers_a_tab(visit, width):
    page = visit(width=width)
    for name in TABS.values():
        page.get_by_role("tab", name=name, exact=True).click(trial=True)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_picture_that_is_tapped_grows_and_is_in_view(visit, width):
    page = visit(width=width, height=850)
    run(page, "generate")
    picture = page.locator("#pairs .thumbnail-item img").first
    before = picture.bounding_box()["height"]
    picture.click()
    box = page.locator("#pairs .preview img").first.bounding_box()
    assert box["height"] > 1.3 * before and box["y"] >= 0 and box["y"] + box["height"] <= 850


@pytest.mark.parametrize("width", [744, 768, 820, 1024, 1180])
def test_every_slider_is_whole(visit, width):
    page = visit("?tab=draw", width=width, height=1100)
    page.get_by_label("range slider for Contrast").wait_for()
    page.evaluate("document.fonts.ready")
    cut = """() => [...document.querySelectorAll("#cell-draw input[type=range]")].filter((range) => {
      if (!range.checkVisibility()) return false;
      const box = range.getBoundingClientRect();
      for (let e = range.parentElement; e; e = e.parentElement) {
        const around = e.getBoundingClientRect();
        if (getComputedStyle(e).overflowX !== "visible" && (box.right > around.right + 1 || box.left < around.left - 1)) return true;
      }
      return box.width < 60;
    }).map((range) => range.ariaLabel)"""
    assert page.evaluate(cut) == []


def test_on_a_phone_a_new_eye_comes_into_view(visit):
    page = visit(**LOOKS["narrow"])
    page.get_by_role("button", name="New eye").tap()
    wait_for(page, "generate", 1)
    page.wait_for_function("document.querySelector('#pairs img').getBoundingClientRect().bottom < innerHeight")


def test_canvas_and_fundus_are_whole_in_a_low_window(visit):
    page = visit("?tab=draw", width=720, height=450)
    stroke(page, ARCADE)
    new_fundus(page, None)
    for part in ("#drawing canvas", "#painted"):
        box = page.locator(part).bounding_box()
        assert box["height"] < 450 and abs(box["width"] - box["height"]) < 8, part


@pytest.mark.parametrize("look", LOOKS)
def test_looks(visit, look, photo):
    """Nothing hangs over the edge, every picture has a text, contrast is AA, on each tab; pictures of them go to screenshots/."""
    page = visit(**LOOKS[look])
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] < 80")
    assert dark == (look == "dark")
    for tab in TABS:
        open_tab(page, tab)
        if tab == "generate":
            run(page, "generate")
        if tab == "draw":
            for points in (ARCADE, BRANCH):
                old = fundus_address(page)
                stroke(page, points)
                new_fundus(page, old)
        if tab == "enlarge":
            page.locator("#cell-enlarge input[type=file]").set_input_files(photo)
            expect(page.locator("#cell-enlarge .image-frame img")).to_be_visible()
            run(page, "enlarge")
        if tab == "compare":
            page.locator("#cell-compare input[type=file]").nth(1).set_input_files([photo])
            expect(page.locator("#cell-compare .controls .thumbnail-item img")).to_have_count(1)
            run(page, "compare")
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / f"{look}-{tab}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{tab} is wider than the window"
        assert page.evaluate(CONTRAST) == [], tab
        # the pictures of the slider have no text of their own: the loupe beside it names them
        nameless = "[...document.querySelectorAll('img:not(#before-after img)')].filter(i => i.checkVisibility() && i.src && !i.alt)"
        assert page.evaluate(nameless + ".map(i => i.outerHTML.slice(0, 120))") == [], tab


# --- for programs -------------------------------------------------------------------------------------------------------------------


def test_the_actions_answer_programs(server, tmp_path, vessel_tree, tiny_pipeline):
    from gradio_client import Client, handle_file

    client = Client(server, verbose=False, download_files=str(tmp_path))
    vessels, fundus = client.predict(seed=7, api_name="/generate")
    assert Image.open(vessels).size == (512, 512) and Image.open(fundus).size == (1024, 1024)
    Image.fromarray(vessel_tree(1)).save(tmp_path / "map.png")
    painted = client.predict(handle_file(tmp_path / "map.png"), 3, 0, api_name="/translate")
    expected = to_array(tiny_pipeline.translate(read_mask(tmp_path / "map.png"), style=3, seed=0))
    assert np.array_equal(np.asarray(Image.open(painted).convert("RGB")), expected)
    assert all(Image.open(file).text["Comment"] == "Synthetic image. Not for diagnosis." for file in (vessels, fundus, painted))
    assert Image.open(painted).text["style_seed"] == "3"
    with pytest.raises(Exception, match="seed"):
        client.predict(seed=-1, api_name="/generate")
    info = json.load(urllib.request.urlopen(f"{server}/gradio_api/info"))
    assert set(info["named_endpoints"]) == {"/generate", "/vary", "/translate", "/upscale", "/compare"}
