"""Findings hold arrays, which have no truth value."""

from tests.report.examples import make_some_findings


def test_findings_are_compared_by_identity():
    findings = make_some_findings(num_clusters=2)
    assert findings.num_clusters == 2
    assert findings == findings
    assert findings != make_some_findings(num_clusters=2)
