"""task=report: the page of a finished output again."""

from __future__ import annotations


def test_the_report_again_is_the_same_and_nothing_else_changes(cli, small, place, everything_in):
    assert cli(*small, "plots=true", "sweep.n=[1]", f"hydra.run.dir={place}/out").code == 0
    before = everything_in(place / "out")
    (place / "out/report.html").write_text("an old one", encoding="utf-8")
    (place / "out/plots/of_an_older_version.png").write_bytes(b"png")
    code, out, _ = cli("task=report", f"path={place}/out")
    assert code == 0
    assert out == f"Report: {place}/out/report.html\n"
    assert everything_in(place / "out") == before
    assert not (place / "outputs").exists()


def test_what_is_no_output_is_refused(refused, place):
    (place / "empty").mkdir()
    assert "not a finished output folder" in refused("task=report", f"path={place}/empty")
    assert "path" in refused("task=report")
