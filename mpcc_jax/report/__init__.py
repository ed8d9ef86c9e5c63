"""What people look at: pictures of a run, and the page about a trained model."""

from mpcc_jax.report.findings import Findings
from mpcc_jax.report.page import write_page
from mpcc_jax.report.sheets import (
    describe_clusters,
    save_cluster_sheet,
    save_contact_sheet,
    save_reconstructions,
    tile,
)

__all__ = [
    "Findings",
    "describe_clusters",
    "save_cluster_sheet",
    "save_contact_sheet",
    "save_reconstructions",
    "tile",
    "write_page",
]
