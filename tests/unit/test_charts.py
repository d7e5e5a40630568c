"""Drawings as HTML: what can be pointed at."""

import re
from datetime import date, timedelta

import numpy as np
import pytest

from trading.charts import Line, line_chart, page_style, plot_style

FIRST = date(2024, 1, 1)


@pytest.mark.parametrize("n", [1, 2, 250, 2500])
def test_every_place_of_a_drawing_can_be_pointed_at(n):
    """The strips lie side by side from the left edge to the right one, however many dates."""
    days = [FIRST + timedelta(days=i) for i in range(n)]
    lines = [Line(kind="equity", values=np.linspace(100.0, 110.0, n))]

    drawn = line_chart(days, lines, title="계좌", readings=[str(day) for day in days])
    strips = re.findall(r'class="at[^"]*" style="left:([\d.]+)%;width:([\d.]+)%"', drawn)
    said = re.findall(r'data-says="([^"]*)"', drawn)

    assert 1 <= len(strips) <= 400
    assert said[-1] == str(days[-1])
    assert said == sorted(set(said))
    left = 0.0
    for begins, width in strips:
        assert float(begins) == pytest.approx(left, abs=0.011)
        left = float(begins) + float(width)
    assert left == pytest.approx(100.0 if n > 1 else 50.0, abs=0.011)


def test_what_a_drawing_says_is_text():
    """A name with signs of HTML in it stays a name; without readings there is nothing to point at."""
    lines = [Line(kind="equity", values=np.array([1.0, 2.0]))]

    drawn = line_chart(["09:30", "15:30"], lines, title="장중", readings=['<b>"A&B"', "끝"])

    assert 'data-says="&lt;b&gt;&#34;A&amp;B&#34;"' in drawn
    assert ">09:30</span>" in drawn
    assert "data-says" not in line_chart(["09:30", "15:30"], lines, title="장중")


def test_a_page_has_the_style_of_its_drawings():
    """A report is one file: the drawings' style is in it."""
    assert plot_style() in page_style()
