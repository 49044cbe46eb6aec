"""Imports go one way, down the floors of docs/design.md, and never in a circle."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

# From the top down; rooms of one floor may import each other, unless that makes a circle.
FLOORS = (
    ('__main__',),
    ('datasets', 'deploy', 'publish', 'report'),
    ('analysis', 'engine', 'timm_models'),
    ('annotations', 'classification', 'models'),
    ('runtime', 'weights'),
    ('environment', 'mmcv_ops', '_mmcv_ext', 'paths', 'plain_yaml', 'registration', 'tables'),
    ('media',),
    ('files', 'images'),
    ('arguments', 'errors', 'glibc', 'image_header', 'lazy', 'limits', 'signals', 'version'),
)
RUNTIME_MAY_IMPORT = {
    'arguments',
    'errors',
    'files',
    'image_header',
    'images',
    'lazy',
    'limits',
    'media',
    'runtime',
    'signals',
    'tables',
}
NEVER_IN_RUNTIME = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg'}
BESIDE_THE_PACKAGE = {'tools', 'benchmarks', 'tests', 'configs'}


@pytest.fixture(scope='module')
def graph():
    """Every import statement of the package, those inside functions included."""
    return grimp.build_graph('mmtrtvit', include_external_packages=True, cache_dir=None)


def inside(graph):
    return sorted(name for name in graph.modules if name.split('.')[0] == 'mmtrtvit')


def room_of(module):
    return module.split('.')[1] if '.' in module else module


def test_every_room_has_a_floor(graph):
    rooms = {room_of(name) for name in graph.find_children('mmtrtvit')}
    assert rooms == {room for floor in FLOORS for room in floor}


def test_imports_go_down(graph):
    layers = [grimp.Layer(*floor, independent=False) for floor in FLOORS]
    upward = graph.find_illegal_dependencies_for_layers(layers, containers={'mmtrtvit'})
    assert not [f'{each.importer} imports {each.imported}' for each in upward]


def test_no_modules_import_each_other_in_a_circle(graph):
    imports = {name: graph.find_modules_directly_imported_by(name) for name in inside(graph)}
    try:
        TopologicalSorter(imports).prepare()
        circle = []
    except CycleError as error:
        circle = error.args[1][::-1]
    assert not circle, ' imports '.join(circle)


def test_no_rooms_import_each_other_in_a_circle(graph):
    """Nor do the rooms inside a room, at any depth."""
    packages = [name for name in inside(graph) if graph.find_children(name)]
    assert 'mmtrtvit.deploy' in packages
    assert not {name: found for name in packages if (found := graph.nominate_cycle_breakers(name))}


def test_the_runtime_stands_alone(graph):
    imported = {
        target
        for name in inside(graph)
        if name.startswith('mmtrtvit.runtime')
        for target in graph.find_modules_directly_imported_by(name)
    }
    ours = {target for target in imported if target.startswith('mmtrtvit')}
    assert {room_of(target) for target in ours} <= RUNTIME_MAY_IMPORT
    below = {f'mmtrtvit.{room}' for room in RUNTIME_MAY_IMPORT - {'runtime'}}
    imported |= {each for room in below for each in graph.find_upstream_modules(room)}
    assert not imported & NEVER_IN_RUNTIME


def test_the_package_imports_nothing_that_lies_beside_it(graph):
    assert not graph.modules & BESIDE_THE_PACKAGE
