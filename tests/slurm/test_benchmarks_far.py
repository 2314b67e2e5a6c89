"""The benchmarks on hosts and on a cluster are run once at a tiny size, to see that they work."""

from __future__ import annotations

from pathlib import Path

from benchmark_tools import check, tried


def test_every_row_on_hosts_and_clusters_can_be_measured(tmp_path: Path) -> None:
    far = ("B12", "B13", "B14", "B15", "B17")
    rows = tried("run.py", *far, output=tmp_path / "far rows.json")
    assert [row["id"] for row in rows] == [*far]
    check(rows)
