from reproduce import markdown
from reproduce.markdown import MSE_NOTE

LINE = {
    "label": "MNIST",
    "arm": "paper",
    "measure": "accuracy",
    "heading": "accuracy, %",
    "n": 5,
    "mean": 97.126,
    "sd": 0.4,
    "published": {"mean": 98.48, "sd": 0.52},
    "difference": -1.354,
}


def row(line):
    return markdown.render_published([line])[2]


def test_ours_the_papers_and_the_difference():
    assert markdown.render_published([LINE])[0] == (
        "| row | measure | variant | seeds | ours | published | difference |"
    )
    assert row(LINE) == "| MNIST | accuracy, % | paper | 5 | 97.13 ± 0.40 | 98.48 ± 0.52 | \u22121.35 |"
    one = {**LINE, "n": 1, "sd": None, "published": None, "difference": None}
    assert row(one) == "| MNIST | accuracy, % | paper | 1 | 97.13 | — | — |"
    missing = {**{name: LINE[name] for name in LINE if name not in ("mean", "sd")}, "n": 0, "difference": None}
    assert row({**missing, "missing": "not run"}) == (
        "| MNIST | accuracy, % | paper | 0 | not run | 98.48 ± 0.52 | — |"
    )


def test_a_note_stands_below_the_mse():
    assert MSE_NOTE not in markdown.render_published([LINE])
    line = {**LINE, "measure": "mse", "published": {"mean": 0.331, "sd": 0.09}, "difference": "of another quantity"}
    lines = markdown.render_published([line])
    assert lines[2].endswith("| 0.331 ± 0.090 | of another quantity |")
    assert lines[-1] == MSE_NOTE


def score(mean, sd, *values):
    return {"mean": mean, "sd": sd, "n": len(values), "values": list(values)}


def test_the_study_shows_every_seed():
    released = {"accuracy_many_to_one": score(80.0, 5.0, 75.0, 85.0), "nmi": score(0.5, 0.1, 0.4, 0.6)}
    arms = [
        {"arm": "paper+bias_init", "n": 0, "seeds": [], "scores": {}, "difference": None},
        {
            "arm": "released",
            "n": 2,
            "seeds": [0, 3],
            "scores": {
                **released,
                "ari": score(0.3, 0.0, 0.3, 0.3),
                "reconstruction_mse": score(0.01, 0.0, 0.01, 0.01),
            },
            "difference": {"mean": -2.0, "low": -5.25, "high": 1.25},
        },
    ]
    text = markdown.render_study([{"label": "digits", **arm} for arm in arms])
    assert "## digits" in text
    assert text.index(
        "| released | 2 | 80.00 ± 5.00 | 0.500 ± 0.100 | 0.300 ± 0.000 | 0.010 ± 0.000 | "
        "\u22122.00 (\u22125.25 to +1.25) |"
    ) < text.index("| paper+bias_init | 0 | not run | not run | not run | not run | — |")
    assert "| released | 0 | 75.00 | 0.400 | 0.300 | 0.010 |" in text
    assert "| released | 3 | 85.00 | 0.600 | 0.300 | 0.010 |" in text


def test_runs_say_where_they_were_trained():
    run = {
        "label": "MNIST",
        "arm": "paper",
        "variant": "paper",
        "seeds": [0, 1],
        "accuracies": [0.9712, None],
        "hours": [1.25, None],
        "resumed": [1],
        "iterations": [6000],
        "precision": ["float32"],
        "hardware": ["2 cores", "a GPU"],
        "commit": ["abc+changes"],
        "versions": ["jax 0.10.2"],
        "dates": ["2026-11-22", "2026-11-23"],
        "samples": [50000],
        "scored_on": ["70000 of 70000 images"],
    }
    lines = markdown.render_runs([run])
    assert lines[5] == (
        "| MNIST | paper | 0, 1 | 97.12, — | 1.25, not known | 6000 | float32 | 2 cores; a GPU | abc+changes | "
        "jax 0.10.2 | 2026-11-22 to 2026-11-23 | 70000 of 70000 images |"
    )
    assert lines[-1] == "IS and FID of 50000 generated images."
    assert markdown.render_runs([]) == []


def test_what_stands_in_a_cell_does_not_end_it():
    assert markdown.render(["a"], [["x | y"]]) == ["| a |", "| --- |", "| x \\| y |"]
    assert markdown.render_sentences("Failed", ["one\ntwo"]) == ["", "## Failed", "", "- one two"]
    assert markdown.render_sentences("Failed", []) == []
