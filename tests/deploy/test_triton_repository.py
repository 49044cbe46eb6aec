"""Model repositories, read by Triton's own schema and served by a stand-in of the server, which
speaks its protocol with the real client and runs the files in ONNX Runtime."""

import json
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mmtrtvit.deploy.triton_repository import export_triton
from mmtrtvit.deploy.triton_serving import Serving
from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Classifier, Detector, Segmentor
from mmtrtvit.runtime import __main__ as command_line

grpc = pytest.importorskip('grpc')
pytest.importorskip('tritonclient.grpc')

from google.protobuf import text_format  # noqa: E402
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc  # noqa: E402
from tritonclient.utils import triton_to_np_dtype  # noqa: E402

TOOL = Path(__file__).parents[2] / 'tools/export_triton.py'
DETECTOR = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[{batch}, 3, H, W] input, float[{batch}, 2] sizes)
    => (int32[{batch}, 1] num_dets, float[{batch}, 1, 5] dets, int32[{batch}, 1] labels)
    <int64[1] second = {{1}}, float[1] none = {{0}}, float[1] large = {{1000}}> {{
        sums = ReduceSum <keepdims = 0> (input, axes)
        axes = Constant <value: tensor = int64[3] {{1, 2, 3}}> ()
        sum = Unsqueeze (sums, second)
        count = Div (sum, large)
        row = Concat <axis = 1> (count, sizes, sum, count)
        dets = Unsqueeze (row, second)
        ones = Equal (sum, sum)
        num_dets = Cast <to = 6> (ones)
        labels = Cast <to = 6> (ones)
    }}"""
SEGMENTOR = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[B, 3, H, W] input) => (float[B, 3, H, W] output) { output = Identity (input) }"""
CLASSIFIER = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[B, 3, H, W] input) => (float[B, 3] output)
    {
        means = ReduceMean <axes = [2, 3], keepdims = 0> (input)
        output = Softmax <axis = 1> (means)
    }"""
RESIZING = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (uint8[B, H, W, 3] input)
    => (int32[B, 1] num_dets, float[B, 1, 5] dets, int32[B, 1] labels, float[B, 2] sizes)
    <int64[1] second = {1}, float[1] eight = {8}> {
        pixels = Cast <to = 1> (input)
        mean = ReduceMean <axes = [1, 2, 3], keepdims = 0> (pixels)
        column = Unsqueeze (mean, second)
        ones = Div (column, column)
        eights = Mul (ones, eight)
        sizes = Concat <axis = 1> (eights, eights)
        row = Concat <axis = 1> (column, sizes, eights, ones)
        dets = Unsqueeze (row, second)
        num_dets = Cast <to = 6> (ones)
        labels = Cast <to = 6> (ones)
    }"""
GRAPHS = dict(Detector=DETECTOR, Segmentor=SEGMENTOR, Classifier=CLASSIFIER)
TRANSFORMS = [
    dict(type='Resize', size=[60, 40], keep_ratio=True),
    dict(
        type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
]
PAD = dict(type='Pad', size_divisor=32, pad_val=dict(img=2.5))


@pytest.fixture
def made(tmp_path):
    """Makes work dirs of a detector, a segmentor or a classifier."""

    def make(task='Detector', batch='B', transforms=(*TRANSFORMS, PAD), name='work "dir" ä'):
        folder = tmp_path / name
        folder.mkdir()
        text = GRAPHS[task].format(batch=batch) if task == 'Detector' else GRAPHS[task]
        nodes = text.replace(
            """        sums = ReduceSum <keepdims = 0> (input, axes)
        axes = Constant <value: tensor = int64[3] {1, 2, 3}> ()
""",
            """        axes = Constant <value: tensor = int64[3] {1, 2, 3}> ()
        sums = ReduceSum <keepdims = 0> (input, axes)
""",
        )
        onnx.save(onnx.parser.parse_model(nodes), folder / 'end2end.onnx')
        tasks = [dict(transforms=list(transforms)), {}, dict(params=dict(num_classes=3))]
        (folder / 'deploy.json').write_text(
            json.dumps(dict(task=task, models=[dict(net='end2end.onnx')]))
        )
        (folder / 'pipeline.json').write_text(
            json.dumps(dict(pipeline=dict(tasks=tasks), classes=['disc', 'ring']))
        )
        return folder

    return make


def config_of(folder):
    """What Triton reads; unknown or ill-typed fields raise."""
    return text_format.Parse((folder / 'config.pbtxt').read_text(), model_config_pb2.ModelConfig())


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """What Triton does with a repository, as far as the client asks."""

    def __init__(self, repository):
        self.configs = {
            path.parent.name: config_of(path.parent) for path in repository.glob('*/config.pbtxt')
        }
        self.sessions = {
            name: onnxruntime.InferenceSession(repository / name / '1/model.onnx')
            for name, config in self.configs.items()
            if config.backend
        }
        self.batches = []

    def known(self, name, context):
        if name not in self.configs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model: '{name}'")
        return self.configs[name]

    def ModelConfig(self, request, context):
        return service_pb2.ModelConfigResponse(config=self.known(request.name, context))

    def ModelMetadata(self, request, context):
        config = self.known(request.name, context)
        answer = service_pb2.ModelMetadataResponse(name=request.name)
        for tensors, added in ((config.input, answer.inputs), (config.output, answer.outputs)):
            for tensor in tensors:
                kind = model_config_pb2.DataType.Name(tensor.data_type).removeprefix('TYPE_')
                batch = [-1] if config.max_batch_size else []
                added.add(name=tensor.name, datatype=kind, shape=[*batch, *tensor.dims])
        return answer

    def ModelInfer(self, request, context):
        config = self.known(request.model_name, context)
        values = {}
        for tensor, raw in zip(request.inputs, request.raw_input_contents):
            value = np.frombuffer(raw, triton_to_np_dtype(tensor.datatype))
            values[tensor.name] = value.reshape(tensor.shape)
        batch = len(values['input'])
        if config.max_batch_size and batch > config.max_batch_size:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, 'batch-size must be <= max')
        self.batches.append(batch)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, value in self.run(request.model_name, values).items():
            kind = {'float32': 'FP32', 'int32': 'INT32'}[value.dtype.name]
            answer.outputs.add(name=name, datatype=kind, shape=value.shape)
            answer.raw_output_contents.append(value.tobytes())
        return answer

    def run(self, name, values):
        for each in self.configs[name].input:
            kind = model_config_pb2.DataType.Name(each.data_type).removeprefix('TYPE_')
            assert values[each.name].dtype == triton_to_np_dtype(kind)
        if name in self.sessions:
            session = self.sessions[name]
            outputs = [each.name for each in session.get_outputs()]
            assert outputs == [each.name for each in self.configs[name].output]
            return dict(zip(outputs, session.run(None, values)))
        pool = dict(values)
        for step in self.configs[name].ensemble_scheduling.step:
            found = self.run(
                step.model_name, {key: pool[value] for key, value in step.input_map.items()}
            )
            pool.update({value: found[key] for key, value in step.output_map.items()})
        return {each.name: pool[each.name] for each in self.configs[name].output}


@pytest.fixture
def serve():
    """Starts servers; returns each with its address."""
    started = []

    def start(repository):
        servicer = Server(repository)
        server = grpc.server(ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port('localhost:0')
        server.start()
        started.append(server)
        return servicer, f'localhost:{port}'

    yield start
    for server in started:
        server.stop(None).wait()


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, size, dtype=np.uint8) for size in [(50, 80, 3)] * 5 + [(80, 50, 3)] * 2
    ]


def same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for name in ('boxes', 'scores', 'labels'):
            if hasattr(ours, name):
                np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5)
    return True


def test_a_repository_of_a_detector(made, tmp_path):
    (folder,) = export_triton(
        made(), tmp_path / 'models', name='shapes', serving=Serving(16, 3, (0, 2), 500)
    )
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')) == [
        '1',
        '1/model.onnx',
        'config.pbtxt',
        'labels.txt',
    ]
    config = config_of(folder)
    assert (config.name, config.backend, config.max_batch_size) == ('shapes', 'onnxruntime', 16)
    assert [(each.name, list(each.dims)) for each in config.input] == [
        ('input', [3, -1, -1]),
        ('sizes', [2]),
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [
        ('num_dets', model_config_pb2.TYPE_INT32, [1]),
        ('dets', model_config_pb2.TYPE_FP32, [1, 5]),
        ('labels', model_config_pb2.TYPE_INT32, [1]),
    ]
    assert [each.label_filename for each in config.output] == ['', '', 'labels.txt']
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.gpus)) == (
        3,
        model_config_pb2.ModelInstanceGroup.KIND_GPU,
        [0, 2],
    )
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert (folder / 'labels.txt').read_text() == 'disc\nring\n'


def with_weights_in(work_dir, name):
    """Moves the weights of a model to another file."""
    path = work_dir / 'end2end.onnx'
    model = onnx.load(path)
    (tensor,) = [each for each in model.graph.initializer if each.name == 'large']
    (work_dir / name).write_bytes(onnx.numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField('float_data')
    tensor.ClearField('raw_data')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=name)
    path.write_bytes(model.SerializeToString())


def test_weights_in_other_files_come_along(made, tmp_path):
    work_dir = made()
    with_weights_in(work_dir, 'end2end.data')
    (folder,) = export_triton(work_dir, tmp_path / 'models', name='shapes')
    assert (folder / '1/end2end.data').read_bytes() == (work_dir / 'end2end.data').read_bytes()
    onnxruntime.InferenceSession(folder / '1/model.onnx')
    with_weights_in(made(name='other'), f'../{work_dir.name}/end2end.data')
    with pytest.raises(UserError):
        export_triton(tmp_path / 'other', tmp_path / 'models', name='other')
    assert not (tmp_path / 'models/other').exists()


def test_nothing_outside_the_folder_is_copied_to_a_server(made, tmp_path):
    work_dir = made()
    (work_dir / 'end2end.onnx').rename(tmp_path / 'secret.onnx')
    (work_dir / 'end2end.onnx').symlink_to(tmp_path / 'secret.onnx')
    with pytest.raises(UserError, match='end2end.onnx is a link to /.*/secret.onnx: what is'):
        export_triton(work_dir, tmp_path / 'models')
    assert not (tmp_path / 'models').exists()


def test_openvinos_models_are_refused(made, tmp_path):
    work_dir = made()
    (work_dir / 'end2end.xml').touch()
    (work_dir / 'deploy.json').write_text(
        json.dumps(dict(task='Detector', models=[dict(net='end2end.xml')]))
    )
    with pytest.raises(UserError, match='end2end.xml is for OpenVINO, .* deploy with'):
        export_triton(work_dir, tmp_path / 'models')
    assert not (tmp_path / 'models').exists()


def test_an_engine_takes_its_shapes_from_the_onnx_file_and_the_batch_from_the_profile(
    made, tmp_path
):
    work_dir = made()
    (work_dir / 'end2end.engine').write_bytes(b'an engine')
    (work_dir / 'deploy.json').write_text(
        json.dumps(dict(task='Detector', models=[dict(net='end2end.engine')]))
    )
    (work_dir / 'detail.json').write_text(
        json.dumps(dict(settings=dict(profiles=[dict(max_shape=[4, 3, 800, 800])])))
    )
    (folder,) = export_triton(work_dir, tmp_path / 'models', name='shapes')
    config = config_of(folder)
    assert (config.backend, config.max_batch_size) == ('tensorrt', 4)
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert (folder / '1/model.plan').read_bytes() == b'an engine'
    serving = Serving(gpus=(0,), profiles=(0, 2))
    (folder,) = export_triton(work_dir, tmp_path / 'models', name='shapes', serving=serving)
    assert list(config_of(folder).instance_group[0].profile) == ['0', '2']
    with pytest.raises(UserError, match='end2end.engine is an engine, which runs on a GPU only'):
        export_triton(work_dir, tmp_path / 'models', name='shapes', serving=Serving())


def test_a_graph_of_one_image_has_no_dynamic_batches(made, tmp_path, serve, images):
    work_dir = made(batch=1)
    (folder,) = export_triton(work_dir, tmp_path / 'models')
    config = config_of(folder)
    assert config.name == 'work "dir" ä' and config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 3, -1, -1]
    assert not config.HasField('dynamic_batching')
    servicer, address = serve(tmp_path / 'models')
    assert same(
        client(work_dir, address, 'work "dir" ä').predict(images, 4),
        Detector(work_dir).predict(images),
    )
    assert servicer.batches == [1] * 7


def client(work_dir, address, name, kind=Detector):
    from mmtrtvit.runtime.sessions.triton_server import TritonSession

    return kind(work_dir, session=TritonSession(address, name))


def test_the_client_finds_what_the_file_finds(made, tmp_path, serve, images):
    work_dir = made()
    export_triton(work_dir, tmp_path / 'models', name='shapes', serving=Serving(max_batch_size=2))
    servicer, address = serve(tmp_path / 'models')
    local = Detector(work_dir)
    (work_dir / 'end2end.onnx').unlink()  # the client has no need of it
    remote = client(work_dir, address, 'shapes')
    assert same(remote.predict(images, batch_size=3), local.predict(images, 3))
    assert servicer.batches == [2, 1, 2, 1, 1]  # all are padded to one size


@pytest.mark.parametrize(
    'transforms',
    [(*TRANSFORMS, PAD), TRANSFORMS, [dict(TRANSFORMS[1], to_rgb=False), dict(PAD, pad_val=0)]],
)
def test_an_ensemble_takes_pixels(transforms, made, tmp_path, serve, images):
    work_dir = made(transforms=transforms)
    folders = export_triton(work_dir, tmp_path / 'models', name='shapes', preprocessing=True)
    assert [folder.name for folder in folders] == [
        'shapes',
        'shapes_preprocessing',
        'shapes_network',
    ]
    assert (folders[0] / '1').is_dir()
    config = config_of(folders[0])
    assert config.platform == 'ensemble' and not config.instance_group
    assert [(each.data_type, list(each.dims)) for each in config.input] == [
        (model_config_pb2.TYPE_UINT8, [-1, -1, 3]),
        (model_config_pb2.TYPE_FP32, [2]),
    ]
    assert [step.model_name for step in config.ensemble_scheduling.step] == [
        'shapes_preprocessing',
        'shapes_network',
    ]
    assert not config_of(folders[1]).HasField('dynamic_batching')
    assert config_of(folders[2]).HasField('dynamic_batching')
    _, address = serve(tmp_path / 'models')
    assert same(
        client(work_dir, address, 'shapes').predict(images, 3),
        Detector(work_dir).predict(images, 3),
    )


def test_a_graph_that_resizes(made, monkeypatch, tmp_path, serve, images):
    monkeypatch.setitem(GRAPHS, 'Segmentor', RESIZING)  # of which made() fills nothing in
    work_dir = made('Segmentor')
    deploy = work_dir / 'deploy.json'
    deploy.write_text(deploy.read_text().replace('Segmentor', 'Detector'))
    (folder,) = export_triton(work_dir, tmp_path / 'models', name='shapes')
    config = config_of(folder)
    assert [(each.name, list(each.dims)) for each in config.input] == [('input', [-1, -1, 3])]
    assert [each.name for each in config.output] == ['num_dets', 'dets', 'labels', 'sizes']
    servicer, address = serve(tmp_path / 'models')
    remote = client(work_dir, address, 'shapes')
    assert same(remote.predict(images, 3), Detector(work_dir).predict(images, 3))
    assert remote(images[0]).boxes[0, 3] == images[0].shape[0]  # 8 of 8 rows
    with pytest.raises(UserError, match='takes uint8 images already'):
        export_triton(work_dir, tmp_path / 'models', preprocessing=True)


def test_an_ensemble_of_a_segmentor(made, tmp_path, serve, images):
    work_dir = made('Segmentor', transforms=TRANSFORMS)
    export_triton(work_dir, tmp_path / 'models', name='maps', preprocessing=True)
    _, address = serve(tmp_path / 'models')
    remote = client(work_dir, address, 'maps', Segmentor)
    for found, expected in zip(remote.predict(images, 3), Segmentor(work_dir).predict(images)):
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_an_ensemble_of_a_classifier(made, tmp_path, serve, images):
    transforms = [*TRANSFORMS, dict(PAD, size_divisor=1)]  # nothing to pad, as of a classifier
    work_dir = made('Classifier', transforms=transforms)
    folders = export_triton(work_dir, tmp_path / 'models', name='kinds', preprocessing=True)
    for folder in (folders[0], folders[2]):
        assert [each.label_filename for each in config_of(folder).output] == ['labels.txt']
        assert (folder / 'labels.txt').read_text().split() == ['disc', 'ring']
    _, address = serve(tmp_path / 'models')
    remote = client(work_dir, address, 'kinds', Classifier)
    for found, expected in zip(remote.predict(images, 3), Classifier(work_dir).predict(images)):
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(task='Segmentor'), 'pads images, but the graph does not take their sizes'),
        (dict(batch=1), 'takes 1 images, no more and no fewer'),
        (
            dict(transforms=(*TRANSFORMS, dict(PAD, pad_val=[1, 2, 3]))),
            'pads each channel with a number of its own',
        ),
    ],
)
def test_what_no_server_can_normalise(options, message, made, tmp_path):
    with pytest.raises(UserError, match=message):
        export_triton(made(**options), tmp_path / 'models', preprocessing=True)


def test_a_server_that_is_not_there_and_a_model_that_it_does_not_know(made, tmp_path, serve):
    work_dir = made()
    export_triton(work_dir, tmp_path / 'models', name='shapes')
    _, address = serve(tmp_path / 'models')
    with pytest.raises(UserError, match='localhost:.* says about the model other: unknown model: '):
        client(work_dir, address, 'other')
    with pytest.raises(UserError, match='the Triton server at localhost:1 says'):
        client(work_dir, 'localhost:1', 'shapes')


def test_the_tool_and_the_command_line(made, tmp_path, serve, images, monkeypatch, capsys):
    import cv2

    work_dir = made(name='shapes')
    cv2.imwrite(str(tmp_path / 'a.png'), images[0])
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'export_triton.py',
            str(work_dir),
            str(tmp_path / 'models'),
            '--max-batch-size',
            '4',
            '--preprocessing',
        ],
    )
    runpy.run_path(str(TOOL), run_name='__main__')
    assert capsys.readouterr().out.split()[0] == str(tmp_path / 'models/shapes')
    _, address = serve(tmp_path / 'models')
    monkeypatch.setattr(
        sys, 'argv', ['runtime', str(work_dir), str(tmp_path / 'a.png'), '--server', address]
    )
    command_line.main(command_line.parse_args())
    assert 'ring (1)' in capsys.readouterr().out


def test_how_the_server_runs_a_model(made, tmp_path):
    serving = Serving(
        instances=2,
        gpus=(0, 1),
        version=3,
        versions='2,3',
        warm_up=(32, 64),
        response_cache=True,
        resources=dict(memory=4, slots=1),
        priority=2,
    )
    (folder,) = export_triton(made(), tmp_path / 'models', name='shapes', serving=serving)
    assert {path.name for path in folder.iterdir()} == {'3', 'warmup', 'config.pbtxt', 'labels.txt'}
    config = config_of(folder)
    assert list(config.version_policy.specific.versions) == [2, 3]
    assert config.response_cache.enable
    (group,) = config.instance_group
    assert (group.count, list(group.gpus)) == (2, [0, 1])
    resources = {each.name: each.count for each in group.rate_limiter.resources}
    assert resources == dict(memory=4, slots=1) and group.rate_limiter.priority == 2
    (warm_up,) = config.model_warmup
    assert warm_up.batch_size == 1
    assert list(warm_up.inputs['input'].dims) == [3, 32, 64] and warm_up.inputs['input'].random_data
    assert list(warm_up.inputs['sizes'].dims) == [2]
    file = folder / 'warmup' / warm_up.inputs['sizes'].input_data_file
    assert np.frombuffer(file.read_bytes(), np.float32).tolist() == [32, 64]


@pytest.mark.parametrize('text, kind', [('all', 'all'), ('latest:2', 'latest'), (None, None)])
def test_the_versions_that_are_offered(made, tmp_path, text, kind):
    folders = export_triton(
        made(), tmp_path / 'models', serving=Serving(versions=text), preprocessing=True
    )
    for folder in folders:
        config = config_of(folder)
        assert config.version_policy.WhichOneof('policy_choice') == kind
        assert not config.HasField('response_cache') and not config.model_warmup


@pytest.mark.parametrize(
    'serving, message',
    [
        (dict(versions='newest'), 'expected all, latest:2, or numbers as in 1,3'),
        (dict(versions='latest:0'), "versions is 'latest:0'"),
        (dict(profiles=(1,)), 'is no engine: it has no profiles'),
    ],
)
def test_what_a_server_cannot_do(made, tmp_path, serving, message):
    with pytest.raises(UserError, match=message):
        export_triton(made(), tmp_path / 'models', serving=Serving(**serving))


def test_the_options_of_the_tool(made, tmp_path, monkeypatch):
    folder = made()
    words = ['--name', 'shapes', '--version', 2, '--versions', 'latest:2', '--warm-up', 32, 64]
    words += ['--response-cache', '--resources', 'memory:4', '--priority', 3]
    monkeypatch.setattr(sys, 'argv', list(map(str, [TOOL, folder, tmp_path / 'models', *words])))
    runpy.run_path(str(TOOL), run_name='__main__')
    config = config_of(tmp_path / 'models/shapes')
    assert config.version_policy.latest.num_versions == 2 and config.response_cache.enable
    assert config.instance_group[0].rate_limiter.priority == 3 and config.model_warmup
    assert (tmp_path / 'models/shapes/2/model.onnx').is_file()
