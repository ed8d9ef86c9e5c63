import json

from reproduce import write
from reproduce.catalogue import TABLES
from reproduce.write import write_tables
from tests.reproduce.examples import make_options, make_record, make_row, make_table, write_record, write_records


def test_a_table_as_a_page_and_as_data(tmp_path):
    row, options = make_row(tmp_path), make_options(tmp_path)
    write_records(row, "paper", options, (0.9, 0.8, 0.95, 0.7, 0.85))
    path = write_tables(make_table(row), options)
    assert path == tmp_path / "out" / "table4_paper.md"
    text = path.read_text()
    assert text.startswith("# Table of tiny runs, at the paper's scale\n")
    for line in (
        "| Small | accuracy (Eq. 11), % | paper | 5 | 84.00 ± 9.62 | 90.00 ± 1.00 | \u22126.00 |",
        "| Small | accuracy, best three of five, % | paper | 5 | 90.00 ± 5.00 | 92.00 ± 0.50 | \u22122.00 |",
        "| Small | accuracy (Eq. 11), % | released | 0 | not run | 90.00 ± 1.00 | — |",
        "| Small | MPCC, paper | 20 | 5 | 0.840 ± 0.096 | 0.420 ± 0.048 | 0.500 ± 0.000 | 0.250 ± 0.000 |",
    ):
        assert line in text
    content = json.loads(path.with_suffix(".json").read_text())
    assert (content["table"], content["scale"], content["lines"][0]["seeds"]) == ("table4", "paper", [0, 1, 2, 3, 4])
    assert sorted(one.name for one in options.out.iterdir()) == ["runs", "table4_paper.json", "table4_paper.md"]


def test_the_small_scale_says_that_it_is_not_the_papers(tmp_path):
    path = write_tables(TABLES["table4"], make_options(tmp_path, scale="cpu"))
    heading, *_ = path.read_text().splitlines()
    assert heading.startswith("# Table 4: clustering, on one CPU: images, networks and runs smaller than the paper's")
    assert heading.endswith("with no claim to its figures")
    assert "data.resolution 16, model.channels " in path.read_text()


def test_a_record_that_comes_meanwhile_is_not_lost(tmp_path, monkeypatch):
    row, options = make_row(tmp_path), make_options(tmp_path)
    write_records(row, "paper", options, (0.9,))
    render, calls = write.render_page, []

    def render_slowly(content):
        calls.append(content)
        if len(calls) == 1:  # another process finishes seed 1
            write_record(make_record(row, "paper", 1, options, 0.7), options)
        return render(content)

    monkeypatch.setattr(write, "render_page", render_slowly)
    text = write_tables(make_table(row), options).read_text()
    assert len(calls) == 2
    assert "| paper | 2 | 80.00 ± 14.14 |" in text
