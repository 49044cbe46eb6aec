"""Engines, built by stand-ins for several versions of TensorRT."""

import importlib.util
import os
import pickle
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from mmtrtvit.deploy.backends.tensorrt.build import EngineUnavailable, build_engine
from mmtrtvit.deploy.backends.tensorrt.options import (
    EngineOptions,
    ShapeRange,
    parse_shapes,
    read_options,
)
from mmtrtvit.deploy.backends.tensorrt.refit import refit_engine
from mmtrtvit.errors import UserError

TESTS = Path(__file__).parents[3]
TOOL = TESTS.parent / 'tools/onnx2tensorrt.py'
VERSIONS = ('8.6.1', '10.0.1', '10.16.1.11', '11.4.0.106')
RANGE = ShapeRange((1, 3, 32, 32), (1, 3, 64, 96), (4, 3, 128, 128))


def plan_of(path):
    return pickle.loads(path.read_bytes())


@pytest.fixture
def paths(tmp_path, graph):
    return graph(tmp_path / 'end2end.onnx'), tmp_path / 'end2end.engine'


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('kind', ['fp32', 'fp16', 'int8'])
def test_every_version_builds_every_kind_of_file(stand_in, graph, tmp_path, version, kind):
    stand_in(version)
    path = graph(tmp_path / 'end2end.onnx', kind)
    report = build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    plan = plan_of(report.path)
    assert report.precision == kind and report.tensorrt == version
    assert report.strongly_typed is plan['typed'] is (version != '8.6.1')
    weak = {
        'fp32': set(),
        'fp16': {'FP16', 'TF32', 'OBEY_PRECISION_CONSTRAINTS'},
        'int8': {'INT8', 'TF32'},
    }[kind]
    typed = set() if kind == 'fp32' else {'TF32'}
    assert plan['flags'] == (typed if report.strongly_typed else weak)
    assert plan['profiles'] == [dict(input=RANGE, sizes=((1, 2), (1, 2), (4, 2)))]
    assert plan['settings']['profiling_verbosity'] == 'DETAILED'
    assert {file.name for file in tmp_path.iterdir()} == {
        'end2end.onnx',
        'end2end.engine',
        'end2end.engine.timing',
    }


@pytest.mark.parametrize('version', VERSIONS)
def test_tf32_is_off_unless_asked_for(stand_in, paths, version):
    stand_in(version)
    for precision, flags in (('fp32', set()), ('tf32', {'TF32'})):
        build_engine(*paths, options=EngineOptions(precision), profiles=[dict(input=RANGE)])
        assert plan_of(paths[1])['flags'] == flags


@pytest.mark.parametrize('version', ['8.6.1', '10.0.1', '10.16.1.11'])
def test_half_layers_of_a_single_precision_file_end_behind_the_heads(stand_in, paths, version):
    stand_in(version)
    report = build_engine(*paths, options=EngineOptions('fp16'), profiles=[dict(input=RANGE)])
    plan = plan_of(paths[1])
    assert plan['flags'] == {'FP16', 'TF32', 'OBEY_PRECISION_CONSTRAINTS'} and not plan['typed']
    assert plan['held'] == ['/Sum', '/Add']
    assert report.notes == ['Post-processing is held at single precision.']


@pytest.mark.parametrize('version', VERSIONS[1:])
def test_fp8_is_in_the_file(stand_in, graph, tmp_path, version):
    stand_in(version)
    path = graph(tmp_path / 'end2end.onnx', 'fp8')
    report = build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    plan = plan_of(report.path)
    assert report.precision == 'fp8' and plan['typed'] and plan['flags'] == {'TF32'}


@pytest.mark.parametrize('version', ['10.0.1', '10.16.1.11'])
def test_bf16_is_chosen_by_tensorrt_in_front_of_post_processing(stand_in, paths, version):
    stand_in(version)
    report = build_engine(*paths, options=EngineOptions('bf16'), profiles=[dict(input=RANGE)])
    plan = plan_of(paths[1])
    assert plan['flags'] == {'BF16', 'TF32', 'OBEY_PRECISION_CONSTRAINTS'} and not plan['typed']
    assert plan['held'] == ['/Sum', '/Add'] and report.precision == 'bf16'


@pytest.mark.parametrize('version', VERSIONS)
def test_what_is_not_int8_may_be_half(stand_in, graph, tmp_path, version):
    stand_in(version)
    path = graph(tmp_path / 'end2end.onnx', 'int8')
    report = build_engine(
        path,
        tmp_path / 'end2end.engine',
        options=EngineOptions('int8_fp16'),
        profiles=[dict(input=RANGE)],
    )
    plan = plan_of(report.path)
    if version.startswith('11'):
        assert plan['flags'] == {'TF32'} and plan['typed'] and report.precision == 'int8'
        assert 'stays so' in report.notes[0]
    else:
        assert plan['flags'] == {'FP16', 'INT8', 'TF32', 'OBEY_PRECISION_CONSTRAINTS'}
        assert not plan['typed'] and report.precision == 'int8_fp16'
        assert plan['held'] == ['/Sum', '/Add']


def test_a_weakly_typed_half_file_keeps_its_single_precision(stand_in, graph, tmp_path):
    stand_in('8.6.1')
    path = graph(tmp_path / 'end2end.onnx', 'fp16')
    build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    assert plan_of(tmp_path / 'end2end.engine')['held'] == ['/Sum', '/Add']


def test_a_file_without_names_of_modules_is_told(stand_in, graph, tmp_path):
    stand_in('8.6.1')
    path = graph(tmp_path / 'end2end.onnx', names=False)
    report = build_engine(
        path,
        tmp_path / 'end2end.engine',
        options=EngineOptions('fp16'),
        profiles=[dict(input=RANGE)],
    )
    assert not plan_of(report.path)['held'] and 'boxes in half precision' in report.notes[0]


@pytest.mark.parametrize('version', VERSIONS)
def test_weights_may_be_exchanged(stand_in, graph, tmp_path, version):
    stand_in(version)
    path, other = graph(tmp_path / 'a.onnx'), graph(tmp_path / 'b.onnx')
    model = onnx.load(other)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values + 1, tensor.name))
    onnx.save(model, other)
    engine, new = tmp_path / 'a.engine', tmp_path / 'b.engine'
    options = EngineOptions(weights='refittable')
    build_engine(path, engine, options=options, profiles=[dict(input=RANGE)])
    assert 'REFIT' in plan_of(engine)['flags']
    if version == '8.6.1':
        with pytest.raises(UserError, match='8.6.1 cannot refit from an ONNX file'):
            refit_engine(engine, other, new)
        return
    report = refit_engine(engine, other, new)
    assert report.path == new and report.megabytes == new.stat().st_size / 1e6
    assert plan_of(new)['onnx'] == onnx.load(other).SerializeToString()
    assert plan_of(engine)['onnx'] == onnx.load(path).SerializeToString()


@pytest.mark.parametrize('version', VERSIONS)
def test_an_engine_without_weights_gets_them_later(stand_in, paths, monkeypatch, capsys, version):
    trt = stand_in(version)
    options = EngineOptions(weights='stripped')
    if version == '8.6.1':
        with pytest.raises(UserError, match="'stripped', which TensorRT 8.6.1 cannot do: it has"):
            build_engine(*paths, options=options, profiles=[dict(input=RANGE)])
        return
    build_engine(*paths, options=options, profiles=[dict(input=RANGE)])
    plan = plan_of(paths[1])
    assert {trt.BuilderFlag.STRIP_PLAN.name, 'REFIT_IDENTICAL'} <= plan['flags']
    whole = onnx.load(paths[0]).SerializeToString()
    assert plan['onnx'] != whole
    target = paths[1].with_name('whole.engine')
    assert run_tool(monkeypatch, [paths[0], target, '--refit', paths[1]]) == 0
    assert plan_of(target)['onnx'] == whole and 'refitted in' in capsys.readouterr().out


def test_what_cannot_be_refitted_is_told(stand_in, graph, paths, tmp_path, monkeypatch):
    stand_in('10.0.1')
    target = tmp_path / 'new.engine'
    build_engine(*paths, profiles=[dict(input=RANGE)])
    with pytest.raises(UserError, match='keeps the weights that it was built with'):
        refit_engine(paths[1], paths[0], target)
    options = EngineOptions(weights='refittable')
    build_engine(*paths, options=options, profiles=[dict(input=RANGE)])
    other = graph(tmp_path / 'other.onnx', names=False)
    with pytest.raises(UserError, match='other.onnx:\n.*do not match those of the engine'):
        refit_engine(paths[1], other, target)
    with pytest.raises(UserError, match='there is no file'):
        refit_engine(tmp_path / 'none.engine', other, target)
    (tmp_path / 'bad.engine').write_bytes(b'bad')
    with pytest.raises(UserError, match='cannot load .*bad.engine:\n.*magicTag'):
        refit_engine(tmp_path / 'bad.engine', other, target)
    stand_in('10.0.1', gpu=None)
    assert run_tool(monkeypatch, [paths[0], target, '--refit', paths[1]]) == 3
    assert not target.exists()


@pytest.mark.parametrize('version', VERSIONS)
def test_a_dla_computes_what_it_can(stand_in, paths, version):
    stand_in(version, dla_cores=2)
    one = dict(input=ShapeRange(*[(1, 3, 64, 96)] * 3))
    precision = 'fp16' if not version.startswith('11') else None
    options = EngineOptions(precision, dla_core=1)
    if precision is None:  # the file of the fixture has single precision
        with pytest.raises(UserError, match='a DLA has no fp32'):
            build_engine(*paths, options=options, profiles=[one])
        return
    build_engine(*paths, options=options, profiles=[one])
    plan = plan_of(paths[1])
    assert 'GPU_FALLBACK' in plan['flags']
    assert plan['settings']['DLA_core'] == 1 and plan['settings']['default_device_type'] == 'DLA'
    with pytest.raises(UserError, match='dla_core is 2, but there are 2 DLA cores here'):
        build_engine(*paths, options=EngineOptions(precision, dla_core=2), profiles=[one])
    with pytest.raises(UserError, match='takes one shape of input alone'):
        build_engine(*paths, options=options, profiles=[dict(input=RANGE)])


@pytest.mark.parametrize(
    'version, kind, options, message',
    [
        ('11.4.0.106', 'fp32', dict(precision='fp16'), 'fp16_mode=True'),
        ('10.16.1.11', 'fp32', dict(precision='fp16', strongly_typed=True), 'fp16_mode=True'),
        ('8.6.1', 'fp32', dict(strongly_typed=True), '8.6.1 has no strongly typed networks'),
        ('11.4.0.106', 'fp32', dict(strongly_typed=False), 'has strongly typed networks alone'),
        ('10.0.1', 'fp32', dict(precision='int8'), 'has no QuantizeLinear'),
        ('10.0.1', 'fp16', dict(precision='int8_fp16'), 'has no QuantizeLinear'),
        (
            '10.0.1',
            'int8',
            dict(precision='int8_fp16', strongly_typed=True),
            'only the half layers that the file has',
        ),
        ('10.0.1', 'int8', dict(precision='fp16'), 'is a graph of int8'),
        ('10.0.1', 'int8', dict(precision='fp8'), 'no QuantizeLinear of fp8: .*[.]fp8_mode=True'),
        ('10.0.1', 'fp8', dict(precision='int8'), 'no QuantizeLinear of int8: .*[.]int8_mode=True'),
        ('10.0.1', 'fp8', dict(strongly_typed=False), 'only strongly typed networks compute'),
        ('8.6.1', 'fp8', {}, 'from TensorRT 10 on: take int8'),
        ('8.6.1', 'fp32', dict(precision='bf16'), '8.6.1 has no BF16: take fp16'),
        ('11.4.0.106', 'fp32', dict(precision='bf16'), 'precision is bf16, .*fp16_mode=True'),
        ('10.0.1', 'int8', dict(precision='bf16'), 'is a graph of int8'),
        ('10.0.1', 'fp32', dict(precision='bf16', dla_core=0), 'a DLA has no bf16'),
        ('10.0.1', 'fp16', dict(precision='fp32'), 'is a graph of fp16'),
        (
            '10.0.1',
            'fp32',
            dict(hardware_compatibility='same_compute_capability'),
            'it has: none, ampere_plus',
        ),
    ],
)
def test_what_cannot_be_is_told(stand_in, graph, tmp_path, version, kind, options, message):
    stand_in(version)
    path = graph(tmp_path / 'end2end.onnx', kind)
    with pytest.raises(UserError, match=message):
        build_engine(
            path,
            tmp_path / 'new.engine',
            options=EngineOptions(**options),
            profiles=[dict(input=RANGE)],
        )
    assert not (tmp_path / 'new.engine').exists()


@pytest.mark.parametrize('version', VERSIONS)
def test_options_arrive(stand_in, paths, version):
    stand_in(version)
    build_engine(
        *paths,
        options=EngineOptions(
            workspace=1 << 30,
            optimization_level=5,
            hardware_compatibility='ampere_plus',
            version_compatible=True,
            timing_cache=False,
        ),
        profiles=[dict(input=RANGE)] * 2,
    )
    plan = plan_of(paths[1])
    assert plan['pools'] == {'WORKSPACE': 1 << 30} and len(plan['profiles']) == 2
    assert plan['flags'] == {'VERSION_COMPATIBLE'}
    assert plan['settings'] == dict(
        profiling_verbosity='DETAILED',
        builder_optimization_level=5,
        hardware_compatibility_level='AMPERE_PLUS',
        plugins_to_serialize=['libnvinfer_vc_plugin.so'],
    )
    assert not Path(f'{paths[1]}.timing').exists()


@pytest.mark.parametrize('version', VERSIONS)
def test_measurements_are_kept_for_the_next_build_on_the_same_gpu(stand_in, paths, version):
    cache = Path(f'{paths[1]}.timing')
    stand_in(version)
    build_engine(*paths, profiles=[dict(input=RANGE)])
    once = f'{version} 8.9 timed'.encode()
    assert cache.read_bytes() == once
    assert not build_engine(*paths, profiles=[dict(input=RANGE)]).notes
    assert cache.read_bytes() == once + b' timed'
    stand_in(version, gpu='9.0')
    report = build_engine(*paths, profiles=[dict(input=RANGE)])
    assert report.notes == [f'{cache} is of another GPU or TensorRT and was not used.']
    assert cache.read_bytes() == f'{version} 9.0 timed'.encode()


def test_measurements_that_cannot_be_read_are_left_out(stand_in, paths, monkeypatch):
    trt = stand_in('10.0.1')
    create, cache = trt.IBuilderConfig.create_timing_cache, Path(f'{paths[1]}.timing')
    monkeypatch.setattr(
        trt.IBuilderConfig,
        'create_timing_cache',
        lambda self, data: None if data == b'broken' else create(self, data),
    )
    cache.write_bytes(b'broken')
    assert 'was not used' in build_engine(*paths, profiles=[dict(input=RANGE)]).notes[0]
    assert cache.read_bytes() == b'10.0.1 8.9 timed'


@pytest.mark.parametrize('version', VERSIONS)
def test_phases_are_told_where_the_version_tells_them(stand_in, paths, version):
    stand_in(version)
    phases = []
    build_engine(*paths, profiles=[dict(input=RANGE)], progress=phases.append)
    assert phases == ([] if version == '8.6.1' else ['Building engine'])


@pytest.mark.parametrize('version', ['10.0.1', '11.4.0.106'])
def test_a_build_can_be_interrupted(stand_in, paths, monkeypatch, version):
    trt = stand_in(version)
    build, built = trt.Builder.build_serialized_network, []
    monkeypatch.setattr(
        trt.Builder, 'build_serialized_network', lambda *args: built.append(build(*args))
    )
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build_engine(
            *paths,
            profiles=[dict(input=RANGE)],
            progress=lambda phase: signal.raise_signal(signal.SIGINT),
        )
    assert built == [None] and not paths[1].exists()
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_engine_can_be_built_outside_of_the_main_thread(stand_in, paths):
    stand_in('10.0.1')
    with ThreadPoolExecutor() as pool:
        pool.submit(build_engine, *paths, profiles=[dict(input=RANGE)]).result()
    assert paths[1].exists()


@pytest.mark.parametrize('version', VERSIONS)
def test_an_op_that_the_parser_lacks_is_named_with_a_hint(stand_in, graph, tmp_path, version):
    stand_in(version, lacks=['NonZero'])
    extra = [helper.make_node('NonZero', ['sums'], ['found'], '/NonZero')]
    path = graph(tmp_path / 'end2end.onnx', extra=extra)
    with pytest.raises(UserError) as error:
        build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    assert str(error.value).splitlines() == [
        f'TensorRT {version} cannot read {path}:',
        '  NonZero /NonZero: No importer registered for op: NonZero',
        "    TensorRT has NonZero from 8.5 on. To do without it: onnx_config.nms='matrix'.",
    ]


@pytest.mark.parametrize('version', VERSIONS)
def test_a_failed_build_tells_tensorrts_reason_and_leaves_the_old_engine(
    stand_in, paths, monkeypatch, version
):
    trt = stand_in(version)
    paths[1].write_bytes(b'old')

    def fail(self, network, config):
        self._state['logger'].log(trt.ILogger.Severity.ERROR, 'Error Code 10: no implementation')

    monkeypatch.setattr(trt.Builder, 'build_serialized_network', fail)
    with pytest.raises(UserError, match='Error Code 10: no implementation'):
        build_engine(*paths, profiles=[dict(input=RANGE)])
    assert paths[1].read_bytes() == b'old'


@pytest.mark.parametrize(
    'error, advice, other',
    [
        (
            'Assertion failed. /NonMaxSuppression_2 has no runners that implement it',
            "To do without NonMaxSuppression: onnx_config.nms='matrix'.",
            'Out of memory',
        ),
        ('/Relu has no runners that implement it', 'TensorRT for RTX lacks some', 'do without'),
        ('Could not find any implementation for node x', 'another precision', 'Out of memory'),
        ('Cuda Runtime (out of memory)', 'Out of memory', 'computes the layer'),
        ('Assertion failed', 'Assertion failed', 'Out of memory'),
    ],
)
def test_a_failed_build_says_what_to_do(stand_in, paths, monkeypatch, error, advice, other):
    trt = stand_in('10.0.1')

    def fail(self, network, config):
        self._state['logger'].log(trt.ILogger.Severity.ERROR, error)

    monkeypatch.setattr(trt.Builder, 'build_serialized_network', fail)
    with pytest.raises(UserError) as raised:
        build_engine(*paths, profiles=[dict(input=RANGE)])
    assert advice in str(raised.value) and other not in str(raised.value)


@pytest.mark.parametrize(
    'size, ranges, message',
    [
        ((None, None, None), [], 'needs the least, usual and greatest'),
        ((None, None, None), [dict(inptu=RANGE)], "no input 'inptu'. Did you mean input?"),
        ((None, None, None), [dict(sizes=((1, 2), (1, 2), (4, 2)))], 'no range for input'),
        (
            (None, None, None),
            [dict(input=((1, 3, 64, 64), (1, 3, 32, 32), (1, 3, 64, 64)))],
            'must not shrink',
        ),
        ((None, None, None), [dict(input=((1, 4, 64, 64),) * 3)], 'which 1x4x64x64 is not'),
        ((None, None, None), [dict(input=((1, 3, 64),) * 3)], 'which 1x3x64 is not'),
        ((1, 64, 64), [dict(input=((2, 3, 64, 64),) * 3)], 'input is 1x3x64x64 in the graph'),
    ],
)
def test_profiles_that_do_not_fit(stand_in, graph, tmp_path, size, ranges, message):
    stand_in('10.0.1')
    path = graph(tmp_path / 'end2end.onnx', size=size)
    with pytest.raises(UserError) as error:
        build_engine(path, tmp_path / 'end2end.engine', profiles=ranges)
    assert message in str(error.value)


def test_a_graph_of_fixed_size_needs_no_profile(stand_in, graph, tmp_path):
    stand_in('10.0.1')
    path = graph(tmp_path / 'end2end.onnx', size=(1, 64, 64))
    assert build_engine(path, tmp_path / 'end2end.engine').profiles == []


@pytest.mark.parametrize('content', [None, b'', b'no graph at all'])
def test_no_onnx_file(tmp_path, content):
    path = tmp_path / 'end2end.onnx'
    if content is not None:
        path.write_bytes(content)
    message = 'there is no file' if content is None else 'cannot read .*end2end.onnx as ONNX'
    with pytest.raises(UserError, match=message):
        build_engine(path, tmp_path / 'end2end.engine')


def test_a_deploy_config_says_how_to_build():
    from mmengine.config import Config

    from mmtrtvit.deploy.config import read_settings

    config = Config.fromfile(TOOL.parents[1] / 'configs/deploy/tensorrt_fp32.py')
    options, profiles = read_options(read_settings(config, 'mmdet'))
    assert options == EngineOptions('fp32', workspace=4 << 30)
    assert profiles == [dict(input=((1, 3, 320, 320), (1, 3, 800, 1344), (1, 3, 1344, 1344)))]
    config.backend_config.common_config = dict(
        tf32=True,
        builder_optimization_level=2,
        hardware_compatibility='ampere_plus',
        version_compatible=True,
    )
    assert read_options(read_settings(config, 'mmdet'))[0] == EngineOptions(
        'tf32', None, None, 2, 'ampere_plus', True
    )
    config.backend_config.common_config = dict(fp16_mode=True, tf32=True)
    assert read_options(read_settings(config, 'mmdet'))[0] == EngineOptions('fp16')
    common = dict(fp16_mode=True, int8_mode=True, max_workspace_size=0)
    config.backend_config.common_config = common
    assert read_options(read_settings(config, 'mmdet'))[0] == EngineOptions('int8_fp16')


@pytest.mark.parametrize('text', ['input', 'input:', 'input:1x', ':1x2', 'input:1xa'])
def test_no_shape(text):
    with pytest.raises(UserError, match='is not a shape'):
        parse_shapes([text])


def test_shapes_of_several_inputs():
    expected = {'input': (1, 3, 64, 96), 'a:0': (1, 2)}
    assert parse_shapes(['input:1x3x64x96', 'a:0:1x2']) == expected
    assert parse_shapes(['input:1x3x64x96,a:0:1x2']) == expected


@pytest.mark.parametrize(
    'options',
    [
        dict(precision='half'),
        dict(optimization_level=6),
        dict(hardware_compatibility='all'),
        dict(workspace=0),
        dict(weights='none'),
        dict(dla_core=-1),
    ],
)
def test_options_that_do_not_exist(options):
    with pytest.raises(UserError, match=f'{next(iter(options))} is '):
        EngineOptions(**options)


# Runs a tool as on a device, without the packages of the first argument, and with a stand-in for
# TensorRT where the second is a version of it.
ON_A_DEVICE = """
import runpy, sys

class Nowhere:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] in missing:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

missing, version, *words = sys.argv[1:]
missing = missing.split(',')
if version:
    from tensorrt_stand_in import make
    sys.modules['tensorrt'] = make(version)
sys.meta_path.insert(0, Nowhere)
sys.argv = words
runpy.run_path(words[0], run_name='__main__')
"""
TRAINING = 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'


def on_a_device(words, *, lacks=(), version=''):
    command = [sys.executable, '-c', ON_A_DEVICE, ','.join([*TRAINING, *lacks]), version]
    return subprocess.run(
        [*command, TOOL, *words],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([*map(str, (TOOL.parents[1], TESTS))])},
    )


SHAPES = [
    word
    for part, shape in zip(('min', 'opt', 'max'), RANGE)
    for word in (f'--{part}-shapes', f'input:{"x".join(map(str, shape))}')
]


def test_an_engine_without_pytorch(paths):
    done = on_a_device([*paths, *SHAPES], version='10.0.1')
    assert not done.returncode, done.stderr
    assert plan_of(paths[1])['profiles'] == [dict(input=RANGE, sizes=((1, 2), (1, 2), (4, 2)))]


def test_neither_pytorch_nor_tensorrt(paths):
    done = on_a_device([*paths, *SHAPES], lacks=['tensorrt'])
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith('there is no engine: TensorRT is not installed here')


@pytest.mark.parametrize('package', ['onnx', 'numpy', 'tqdm'])
def test_what_the_tool_needs_is_one_message(paths, package):
    done = on_a_device(paths, lacks=[package])
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == (
        'error: an engine is built with NumPy, onnx and tqdm: pip install numpy onnx tqdm '
        f"(No module named '{package}').\n"
    )


def load_tool():
    spec = importlib.util.spec_from_file_location('onnx2tensorrt', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(monkeypatch, words):
    """Runs the tool in this process, where a stand-in is in TensorRT's place."""
    tool = load_tool()
    monkeypatch.setattr(sys, 'argv', ['onnx2tensorrt.py', *map(str, words)])
    try:
        tool.run_tool(tool.main, tool.parse_args())
    except SystemExit as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    'options',
    [
        EngineOptions(),
        EngineOptions('tf32', True, 512 << 20, 4, 'ampere_plus', True, False),
        EngineOptions('fp16', False, weights='stripped'),
    ],
)
def test_the_command_that_is_shown_builds_the_engine(
    stand_in, graph, tmp_path, monkeypatch, capsys, options
):
    """Where there is no GPU, the message's first command line; run where there is one."""
    folder = tmp_path / 'with a space'
    folder.mkdir()
    path, engine = graph(folder / 'end2end.onnx'), folder / 'end2end.engine'
    profiles = [dict(input=RANGE), dict(input=((1, 3, 64, 64),) * 3)]
    stand_in('10.16.1.11', gpu=None)
    with pytest.raises(EngineUnavailable) as error:
        build_engine(path, engine, options=options, profiles=profiles)
    reason, _, ours, theirs = str(error.value).splitlines()
    assert reason.startswith('there is no engine: TensorRT finds no GPU here')
    words = shlex.split(ours)
    assert words[:2] == ['python', 'tools/onnx2tensorrt.py']
    assert run_tool(monkeypatch, words[2:]) == 3 and not engine.exists()
    assert capsys.readouterr().out == f'{error.value}\n'
    stand_in('10.16.1.11')
    assert run_tool(monkeypatch, words[2:]) == 0
    from_command = plan_of(engine)
    build_engine(path, engine, options=options, profiles=profiles)
    assert plan_of(engine) == from_command
    words = shlex.split(theirs)
    assert words[0] == 'trtexec' and f'--onnx={path}' in words and '--profile=1' in words
    assert '--maxShapes=input:4x3x128x128,sizes:4x2' in words


@pytest.mark.parametrize(
    'kind, options, expected, missing',
    [
        ('fp32', EngineOptions(), {'--noTF32', '--stronglyTyped'}, {'--fp16'}),
        ('fp32', EngineOptions('tf32'), set(), {'--noTF32'}),
        ('fp32', EngineOptions('fp16'), {'--fp16'}, {'--stronglyTyped', '--int8'}),
        ('fp16', EngineOptions(), {'--stronglyTyped'}, {'--fp16', '--noTF32'}),
        ('int8', EngineOptions(strongly_typed=False), {'--int8'}, {'--stronglyTyped', '--fp16'}),
        ('int8', EngineOptions('int8_fp16'), {'--int8', '--fp16'}, {'--stronglyTyped'}),
        ('fp32', EngineOptions(weights='refittable'), {'--refit'}, {'--stripWeights'}),
        ('fp32', EngineOptions(weights='stripped'), {'--stripWeights'}, {'--refit'}),
        (
            'fp32',
            EngineOptions('fp32', None, 1 << 31, 3, 'same_compute_capability', True),
            {
                '--memPoolSize=workspace:2048',
                '--builderOptimizationLevel=3',
                '--versionCompatible',
                '--hardwareCompatibilityLevel=sameComputeCapability',
            },
            {'--profile=0'},
        ),
    ],
)
def test_the_line_for_tensorrts_own_tool(
    stand_in, graph, tmp_path, kind, options, expected, missing
):
    path = graph(tmp_path / 'end2end.onnx', kind)
    stand_in('11.4.0.106', gpu=None)
    with pytest.raises(EngineUnavailable) as error:
        build_engine(path, 'end2end.engine', options=options, profiles=[dict(input=RANGE)])
    words = set(shlex.split(str(error.value).splitlines()[-1]))
    assert expected <= words and not missing & words
    assert {
        '--minShapes=input:1x3x32x32,sizes:1x2',
        '--timingCacheFile=end2end.engine.timing',
    } <= words


def test_without_tensorrt_the_tool_ends_with_3(paths):
    env = dict(os.environ, PYTHONPATH=str(TOOL.parents[1]))
    hide = (
        'import runpy, sys; sys.modules["tensorrt"] = None; sys.argv = sys.argv[1:]; '
        'runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    run = subprocess.run(
        [
            sys.executable,
            '-c',
            hide,
            TOOL,
            *paths,
            '--min-shapes',
            'input:1x3x32x32',
            '--opt-shapes',
            'input:1x3x32x32',
            '--max-shapes',
            'input:1x3x32x32',
        ],
        capture_output=True,
        text=True,
        env=env,
    )
    assert run.returncode == 3, run.stderr
    assert run.stdout.startswith('there is no engine: TensorRT is not installed here')
    assert '\n  trtexec --onnx=' in run.stdout and not paths[1].exists()


@pytest.mark.parametrize(
    'words, message',
    [
        (['--min-shapes', 'input:1x3x32x32'], 'belong together'),
        (
            [
                '--min-shapes',
                'input:1x3x32x32',
                '--opt-shapes',
                'x:1x3x32x32',
                '--max-shapes',
                'x:1',
            ],
            'name different inputs',
        ),
        ([], 'needs the least, usual and greatest'),
    ],
)
def test_the_tool_ends_with_a_message(stand_in, paths, monkeypatch, words, message):
    stand_in('10.0.1')
    assert message in run_tool(monkeypatch, [*paths, *words])
