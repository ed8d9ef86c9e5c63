"""The page: what it shows and leaves out, its structure, what it escapes."""

import base64
import dataclasses
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.report import latent_maps, page, write_page
from mpcc_jax.report.sheets import arrange, make_strip
from tests.report.examples import images, make_all_findings, make_some_findings
from tests.report.test_sheets import decode

VOID = {"meta", "link", "img", "source", "br", "hr"}
SECTIONS = ["scores", "generation", "clusters", "confusion", "latents", "reconstructions", "interpolations"]
SECTIONS += ["outliers", "training", "setup"]


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
        self.open += [] if tag in VOID else [tag]
        self.images += [attributes] if tag == "img" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.links += [attributes[name] for name in ("src", "srcset", "href") if name in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data] if self.open and self.open[-1] != "style" else []

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def render(findings):
    return page.render_page(findings, page.make_charts(findings))


def list_sections(text):
    return re.findall(r'<section id="(\w+)">', text)


@pytest.fixture(scope="module")
def undrawn():
    """Charts are drawn in tests of their own; here all are one wide picture, and t-SNE is left out."""

    def embed(latents, *_):
        return latent_maps.Map("tsne", "t-SNE", latents[:, :2], np.arange(len(latents)), None, None)

    def draw(chart):
        uri = make_strip(images(1), 1, 80, "").uri
        return {"title": chart.title, "alt": chart.alt, "light": uri, "dark": uri, "width": 1400, "height": 900}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpcc_jax.report.latent_maps.embed_latents", embed)
        patch.setattr("mpcc_jax.report.page._draw_in_themes", draw)
        patch.setattr("mpcc_jax.report.sheets.save_figure", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The path of a whole report, with t-SNE."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpcc_jax.report.latent_maps.DRAWS_IN_ALL", 60)
        return write_page(make_all_findings(), tmp_path_factory.mktemp("page") / "made")


def test_structure(written):
    text = written.read_text(encoding="utf-8")
    structure = Structure(text)
    assert structure.headings[0] == structure.headings.count(1) == 1
    assert max(np.diff(structure.headings)) == 1
    assert len(structure.images) > 15
    for image in structure.images:
        assert image["alt"].strip()
        assert min(int(image["width"]), int(image["height"])) > 0
    for link in structure.links:
        if link.startswith("#"):
            assert link[1:] in list_sections(text)
        elif link != "data:,":
            head, content = link.split(",")
            with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
                picture.load()
                assert head == f"data:image/{picture.format.lower()};base64"
    assert not re.search(r"https?:|//\w|@import|url\(|<script", re.sub(r"base64,[\w+/=]+", "", text))


def test_seeds_of_a_run_stand_beside_each_other(undrawn):
    scores = {"silhouette": 0.5, "agreement": 0.75, "confidence": 0.99, "accuracy_many_to_one": 0.9375}
    members = [{"seed": seed, "selected": seed == 8, "rank": 1.5 * seed - 5.5, **scores} for seed in (7, 8)]
    text = Structure(render(dataclasses.replace(make_all_findings(), members=members))).text
    assert "7 0.9375 0.5000 0.7500 0.9900 5 8, to keep 0.9375 0.5000 0.7500 0.9900 6.5" in text
    assert "to keep" not in Structure(render(make_all_findings())).text


def test_every_section_and_number_is_shown(written):
    text = written.read_text(encoding="utf-8")
    assert list_sections(text) == SECTIONS
    shown = Structure(text).text
    for words in (
        *("made up 1.0", "1,797 images", "1,234 iterations", "Own score 3", "not defined", "images.real 100"),
        *("Accuracy, many to one 0.9000 Every cluster", "12.5", "Inception score 2.5000 ± 0.12"),
        "Less is better. Missing: no features.",
    ):
        assert words in shown
    assert "Kid missing" not in shown
    assert "tea" not in shown
    main_settings, all_settings = shown.split("All 3 settings")
    assert "checkpoints.every 1000" in all_settings
    assert "checkpoints.every" not in main_settings


def test_figures_are_files_too(written):
    assert sorted(path.name for path in written.parent.iterdir()) == ["report", "report.html"]
    charts = ["confusion", "curves_adversarial", "curves_logits"]
    charts += [f"latents_{kind}_{group}" for kind in ("pca", "tsne") for group in ("cluster", "class")]
    sheets = ["clusters", "typical", "atypical", "reconstructions", "interpolations", "outliers"]
    names = {f"{chart}.{kind}" for chart in charts for kind in ("png", "pdf")} | {f"{sheet}.png" for sheet in sheets}
    assert {path.name for path in (written.parent / "report").iterdir()} == names
    for path in (written.parent / "report").glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 90


def test_page_of_the_least(tmp_path):
    findings = make_some_findings(num_clusters=1, cluster_sizes=np.zeros(1, int), iteration=None)
    text = write_page(findings, tmp_path).read_text()
    structure = Structure(text)
    assert list_sections(text) == ["scores", "clusters", "setup"]
    assert "made up 1 cluster Scores" in structure.text
    assert "0 images, 0.0%" in structure.text
    assert len(structure.images) == 1
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["clusters.png"]


@pytest.mark.parametrize(
    ("missing", "fields"),
    [
        ({"scores", "reconstructions", "interpolations"}, ("scores", "originals", "reconstructions", "interpolations")),
        ({"generation", "latents"}, ("generation", "latents", "clusters", "labels", "typical", "atypical")),
        ({"confusion", "training"}, ("confusion", "class_names", "labels", "majorities", "history", "config")),
        ({"outliers"}, ("outliers", "outlier_log_probs", "prior_mean", "prior_std", "environment")),
    ],
)
def test_what_is_absent_has_no_section(undrawn, missing, fields):
    empty = {"scores", "history", "config", "environment"}
    text = render(make_all_findings(**{field: {} if field in empty else None for field in fields}))
    assert set(list_sections(text)) == set(SECTIONS) - missing
    Structure(text)


def test_names_are_text_and_not_markup(tmp_path, undrawn):
    names = ("<b>&", '"><script>alert(1)</script>', "$x^2$" + 40 * " long")
    changes = {"config": {"<u>": "<s>"}, "scores": {"<em>": 1.0}, "environment": {"<tt>": "&amp;"}}
    structure = Structure(
        write_page(make_all_findings(names=names, title="<i>A & B</i>", **changes), tmp_path).read_text()
    )
    assert not {"b", "i", "u", "s", "em", "tt", "script"} & set(structure.tags)
    for words in (*map(str.strip, names), "<i>A & B</i>", "<u> <s>", "<em>", "<tt> &amp;"):
        assert words in structure.text


def test_cards_have_sizes_majorities_and_images(undrawn):
    nothing = images(0)
    findings = make_all_findings(
        cluster_sizes=np.asarray([0, 1500, 500]),
        majorities=[None, ("one", 0.956), ("two", 1.0)],
        typical=[nothing, images(2), images(3)],
        atypical=[nothing, images(2), images(2)],
    )
    first, second, third = page.make_cards(findings)
    assert (first.size, first.share, first.bar, first.majority) == ("0", "0.0%", 0.0, None)
    assert [picture is None for _, picture in first.strips] == [False, True, True]
    assert (second.size, second.share, second.bar) == ("1,500", "75.0%", 100.0)
    assert (second.majority, second.majority_share) == ("one", "96%")
    assert third.bar == pytest.approx(33.3)
    assert [title for title, _ in second.strips] == ["Generated", "Most typical, real", "Least typical, real"]
    np.testing.assert_array_equal(decode(second.strips[0][1].uri)[1], arrange(findings.samples[1], 4))
    np.testing.assert_array_equal(decode(third.strips[1][1].uri)[1], arrange(findings.typical[2], 3))
    shown = Structure(render(findings)).text
    assert "Cluster 0 0 images, 0.0% no images, no class" in shown
    assert shown.count("real none") == 2


def test_pairs_lie_above_each_other_and_paths_are_rows():
    findings = make_all_findings()
    first, second = page.make_pairs(findings)
    expected = arrange(np.concatenate([findings.originals[:8], findings.reconstructions[:8]]), 8)
    np.testing.assert_array_equal(decode(first.uri)[1], expected)
    assert second.alt == "Real images 9 to 9 above their reconstructions"
    assert (first.width, second.width) == (7 * 71, 7 * 8)
    expected = arrange(findings.interpolations.reshape(14, 8, 8, 1), 7)
    np.testing.assert_array_equal(decode(page.make_paths(findings).uri)[1], expected)


def test_scores_are_explained_in_order():
    scores = {"my_score": 2, "cluster_entropy": 1.0, "accuracy_many_to_one": 0.5}
    names = ["nmi", "accuracy_many_to_one", "cluster_entropy", "my_score"]
    accuracy, entropy, own_score = page.explain_scores(scores, 10, names)
    assert "Eq. 11" in accuracy.meaning
    assert entropy.meaning == "In nats; 2.303 if all clusters are of one size."
    assert own_score == ("My score", "2", "")
