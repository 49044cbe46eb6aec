"""Networks by latency and something else."""

import pytest

from mmtrtvit.analysis.pareto import Mark, best_of, pareto_figure

MARKS = [
    Mark('slow', 9, 5, 'a', bounds=(8.5, 9.5)),
    Mark('fast', 2, 3, 'a'),
    Mark('bad', 3, 1, 'b'),
    Mark('good', 4, 6, 'b', named=False),
]


@pytest.mark.parametrize(
    'more, names', [(True, ['fast', 'good']), (False, ['fast', 'bad'])], ids=['more', 'less']
)
def test_the_best(more, names):
    assert [mark.name for mark in best_of(MARKS, more_is_better=more)] == names


@pytest.mark.parametrize('joined', [True, False])
def test_a_mark_for_each(joined):
    figure = pareto_figure(MARKS, xlabel='x', ylabel='y', title='where', joined=joined)
    (axes,) = figure.axes
    best, *families = axes.lines
    assert best.get_xydata().tolist() == [[2, 3], [4, 6]]
    drawn = [point for line in families for point in line.get_xydata().tolist()]
    assert drawn == [[2, 3], [9, 5], [3, 1], [4, 6]]
    assert [line.get_linestyle() for line in families] == ['-' if joined else 'None'] * 2
    assert [text.get_text() for text in axes.texts] == ['fast', 'slow', 'bad']
    (bounds,) = axes.collections
    assert bounds.get_segments()[0].tolist() == [[8.5, 5], [9.5, 5]]
    assert (axes.get_xlabel(), axes.get_title(), axes.get_xscale()) == ('x', 'where', 'linear')


def test_latencies_far_apart():
    marks = [*MARKS, Mark('slowest', 90, 7, 'c', prominent=True)]
    (axes,) = pareto_figure(marks, xlabel='', ylabel='', title='').axes
    assert axes.get_xscale() == 'log' and axes.lines[-1].get_marker() == '*'


def test_names_of_near_marks_are_apart():
    marks = [Mark(name, time, 5, name) for name, time in zip('abc', (10, 10.1, 10.2))]
    (axes,) = pareto_figure([*marks, Mark('d', 40, 9, 'd')], xlabel='', ylabel='', title='').axes
    places = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert len({places[name] for name in 'abc'}) == 3 and places['d'] == places['a']
