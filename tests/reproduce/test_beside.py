import json

from reproduce.beside import compare_with_baselines
from reproduce.catalogue import DIGITS
from reproduce.markdown import render_beside
from tests.reproduce.examples import make_options, make_table, write_records


def write_baselines(options, resolution):
    folder = options.out / "baselines"
    folder.mkdir(parents=True, exist_ok=True)
    scores = {"accuracy_many_to_one": 0.75, "accuracy_one_to_one": 0.7, "nmi": 0.6, "ami": 0.6, "ari": 0.5}
    record = {"method": "kmeans", "title": "k-means", "count": 1797, "data": {}, "processor_seconds": 1.0}
    records = [
        {**record, "seed": seed, "scores": {**scores, "accuracy_many_to_one": accuracy}}
        for seed, accuracy in enumerate((0.75, 0.85))
    ]
    (folder / f"digits_{resolution}.json").write_text(json.dumps(records))


def test_our_runs_beside_baselines_on_the_same_images(tmp_path):
    options, table = make_options(tmp_path), make_table(DIGITS)
    assert compare_with_baselines(table, options) == []
    write_baselines(options, 16)
    assert compare_with_baselines(table, options) == [], "of images of another size"
    write_baselines(options, 8)
    write_records(DIGITS, "released", options, (0.9, 0.8))
    lines = compare_with_baselines(table, options)
    assert [(line["method"], line["images"], line["n"]) for line in lines] == [
        ("MPCC, released", 20, 2),
        ("k-means", 1797, 2),
    ]
    assert render_beside(lines)[-1] == (
        "| digits (scikit-learn) | k-means | 1797 | 2 | 0.800 ± 0.071 | 0.700 ± 0.000 | 0.600 ± 0.000 | 0.500 ± 0.000 |"
    )
    assert render_beside([]) == []
