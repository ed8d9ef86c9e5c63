"""The page: its structure, what it leaves out, what it escapes, and that a browser shows all of it."""

import base64
import html.parser
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.report import page, write_page
from mpcc_jax.report.images import make_strip
from mpcc_jax.report.latent_maps import Embedding
from tests.report.examples import all_of_them, few, images

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
)
VOID = {"meta", "link", "img", "source", "br", "hr"}
# Appended to a copy of the page; the report itself has no script.
PROBE = """<script>addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > innerWidth + 1
    && !one.closest(".scroller"));
  const broken = [...document.images].filter(one => !one.complete || !one.naturalWidth);
  document.title = JSON.stringify([document.images.length, broken.length, innerWidth,
    document.documentElement.scrollWidth, wide.length, matchMedia("(prefers-color-scheme: dark)").matches]);
});</script>"""


class Structure(html.parser.HTMLParser):
    """Tags, texts and attributes; refuses tags that do not close each other."""

    def __init__(self, text):
        super().__init__()
        self.images, self.headings, self.links, self.open, self.words, self.tags = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.links += [attributes[name] for name in ("src", "srcset", "href") if name in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def render(findings):
    return page.render_page(findings, page.draw_charts(findings))


def sections(text):
    return re.findall(r'<section id="(\w+)">', text)


@pytest.fixture(scope="module")
def undrawn():
    """Charts are drawn in tests of their own; here all are one wide picture, and t-SNE is left out."""

    def embed(latents, *_):
        return Embedding(np.asarray(latents)[:, :2], np.arange(len(latents)), None)

    uri = make_strip(images(1), 1, 80, "").uri
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpcc_jax.report.maps.embed", embed)
        patch.setattr(page, "_themed", lambda chart: page.ThemedPicture(chart.title, chart.alt, uri, uri, 1400, 900))
        patch.setattr("mpcc_jax.report.figures.save_figure", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A whole report, with t-SNE."""
    folder = tmp_path_factory.mktemp("page") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpcc_jax.report.latent_maps.DRAWS_IN_ALL", 60)
        return write_page(all_of_them(), folder)


def test_structure(written):
    text = written.read_text(encoding="utf-8")
    structure = Structure(text)
    assert structure.headings[0] == 1
    assert structure.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(structure.headings, structure.headings[1:], strict=False))
    assert len(structure.images) > 15
    for image in structure.images:
        assert image["alt"].strip()
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0
    for link in structure.links:
        if link.startswith("#"):
            assert link[1:] in sections(text)
        elif link != "data:,":
            head, content = link.split(",")
            with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
                picture.load()
                assert head == f"data:image/{picture.format.lower()};base64"
    without_images = re.sub(r"base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//\w|@import|url\(|<script", without_images)


def test_every_section_and_number_is_there(written):
    text = written.read_text(encoding="utf-8")
    expected = ["scores", "generation", "clusters", "confusion", "latents", "reconstructions", "interpolations"]
    assert sections(text) == [*expected, "outliers", "training", "setup"]
    shown = Structure(text).text
    for words in ("made up 1.0", "1,797 images", "1,234 iterations", "Own score 3", "not defined", "12.5"):
        assert words in shown
    assert "Accuracy, many to one 0.9000 Every cluster" in shown
    assert "Inception score 2.5000 ± 0.12" in shown
    assert "Less is better. Missing: no features." in shown
    assert "Kid missing" not in shown
    assert "images.real 100" in shown
    assert "checkpoints.every 1000" in shown.split("All 3 settings")[1]
    assert "checkpoints.every" not in shown.split("All 3 settings")[0]
    assert "tea" not in shown


def test_figures_are_files_of_their_own(written):
    assert sorted(path.name for path in written.parent.iterdir()) == ["report", "report.html"]
    names = {path.name for path in (written.parent / "report").iterdir()}
    charts = ["confusion", "curves_adversarial", "curves_logits"]
    charts += [f"latents_{kind}_{by}" for kind in ("pca", "tsne") for by in ("cluster", "class")]
    sheets = ["clusters", "typical", "atypical", "reconstructions", "interpolations", "outliers"]
    assert names == {f"{chart}.{kind}" for chart in charts for kind in ("png", "pdf")} | {f"{s}.png" for s in sheets}
    for path in (written.parent / "report").glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 90


def test_page_of_the_least(tmp_path):
    path = write_page(few(num_clusters=1), tmp_path)
    structure = Structure(path.read_text(encoding="utf-8"))
    assert sections(path.read_text()) == ["scores", "clusters", "setup"]
    assert "1 cluster ·" not in structure.text
    assert len(structure.images) == 1
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["clusters.png"]


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        (("scores",), {"scores"}),
        (("generation",), {"generation"}),
        (("confusion", "class_names", "labels", "majorities"), {"confusion"}),
        (("latents", "clusters", "labels"), {"latents"}),
        (("originals", "reconstructions"), {"reconstructions"}),
        (("interpolations",), {"interpolations"}),
        (("outliers", "outlier_log_probs"), {"outliers"}),
        (("history", "config", "environment"), {"training"}),
        (("typical", "atypical", "prior_mean", "prior_std"), set()),
    ],
)
def test_what_is_absent_has_no_section(undrawn, fields, missing):
    empty = {"scores", "history", "config", "environment"}
    text = render(all_of_them(**{field: {} if field in empty else None for field in fields}))
    everything = {"scores", "generation", "clusters", "confusion", "latents", "reconstructions", "interpolations"}
    assert set(sections(text)) == (everything | {"outliers", "training", "setup"}) - missing
    Structure(text)


def test_latents_without_a_map_are_explained():
    assert "There is no map" in Structure(render(all_of_them(latents=np.ones((30, 4))))).text


def test_empty_cluster(undrawn):
    nothing = images(0)
    changes = {
        "cluster_sizes": np.asarray([0, 5, 5]),
        "majorities": [None, ("one", 1.0), ("two", 1.0)],
        "typical": [nothing, images(2), images(2)],
        "atypical": [nothing, images(2), images(2)],
    }
    shown = Structure(render(all_of_them(**changes))).text
    assert "Cluster 0 0 images, 0.0% no images, no class" in shown
    assert shown.count("real none") == 2


def test_names_are_text_and_not_markup(tmp_path, undrawn):
    names = ("<b>&", '"><script>alert(1)</script>', "$x^2$" + 40 * " long")
    findings = all_of_them(
        names=names, title="<i>A & B</i>", config={"<u>": "<s>"}, scores={"<em>": 1.0}, environment={"<tt>": "&amp;"}
    )
    text = write_page(findings, tmp_path).read_text()
    structure = Structure(text)
    assert not {"b", "i", "u", "s", "em", "tt", "script"} & set(structure.tags)
    for words in (*map(str.strip, names), "<i>A & B</i>", "<u> <s>", "<em>", "<tt> &amp;"):
        assert words in structure.text


@pytest.fixture(scope="module")
def hundred(undrawn):
    names = tuple(f"a class with a rather long name, number {number}" for number in range(100))
    return render(all_of_them(num_clusters=100, channels=3, names=names))


def test_a_hundred_clusters(hundred):
    structure = Structure(hundred)
    assert structure.tags.count("article") == 100
    assert "Cluster 99" in structure.text
    assert len(hundred) < 6e6


def browse(tmp_path, text, width, *options):
    path = tmp_path / "probed.html"
    path.write_text(text + PROBE, encoding="utf-8")
    # Headless windows have a least width; a frame does not.
    frame = tmp_path / "frame.html"
    script = "onload = () => { document.title = frames[0].document.title; }"
    frame.write_text(
        f'<!DOCTYPE html><html lang="en"><body style="margin:0"><iframe src="probed.html" width="{width}" height="800" '
        f'style="border:0"></iframe><script>{script}</script></body></html>'
    )
    command = [
        CHROMIUM,
        *OPTIONS,
        *options,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--allow-file-access-from-files",
    ]
    done = subprocess.run(
        [*command, "--window-size=1300,900", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(\[.*?\])</title>", done.stdout)
    assert title, done.stdout[-500:]
    return re.findall(r"[\w.]+", title[1])


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize(("width", "options"), [(360, ()), (1200, ("--blink-settings=preferredColorScheme=0",))])
@pytest.mark.parametrize("many", [False, True])
def test_a_browser_shows_every_image_and_nothing_sticks_out(tmp_path, written, hundred, width, options, many):
    text = hundred if many else written.read_text(encoding="utf-8")
    count, broken, inner, scrolled, wide, dark = browse(tmp_path, text, width, *options)
    assert int(count) == text.count("<img ")
    assert int(broken) == 0
    assert int(inner) == width
    assert int(scrolled) <= width
    assert int(wide) == 0
    assert dark == ("true" if options else "false")
