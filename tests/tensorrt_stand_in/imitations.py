"""What TensorRT does, as far as mmtrtvit uses it, in classes named as in the bindings.

An engine holds the ONNX file it was built from and runs it in ONNX Runtime, on memory at the
addresses that a caller sets, which is the CPU's here. The words of errors are TensorRT's.
"""

import ctypes
import json
import pickle

import numpy as np
import onnx
import onnxruntime

NUMPY = {
    'FLOAT': np.float32,
    'HALF': np.float16,
    'INT32': np.int32,
    'INT64': np.int64,
    'BOOL': np.bool_,
    'UINT8': np.uint8,
    'INT8': np.int8,
    'FP8': onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.FLOAT8E4M3FN),
}
LAYERS = dict(
    Constant='CONSTANT',
    Cast='CAST',
    DequantizeLinear='DEQUANTIZE',
    QuantizeLinear='QUANTIZE',
    TopK='TOPK',
)
DTYPES = {np.dtype(kind): name for name, kind in NUMPY.items()}


def _made(trt, kind, /, **state):
    """An object that only TensorRT makes."""
    made = object.__new__(getattr(trt, kind))
    made._state = state
    return made


class _Builder:
    num_DLA_cores = property(lambda self: self.trt.state['dla_cores'])

    def __init__(self, logger):
        if self.trt.state['gpu'] is None:
            raise TypeError('pybind11::init(): factory function returned nullptr')
        self._state['logger'] = logger

    def create_network(self, flags=0):
        kinds = self.trt.NetworkDefinitionCreationFlag.__members__
        on = {name for name, kind in kinds.items() if flags >> int(kind) & 1}
        assert flags == sum(1 << int(kinds[name]) for name in on), 'unknown flags'
        return _made(self.trt, 'INetworkDefinition', on=on)

    def create_builder_config(self):
        flags = {self.trt.BuilderFlag.TF32}
        return _made(self.trt, 'IBuilderConfig', on=flags, profiles=[], pools={}, cache=None)

    def create_optimization_profile(self):
        return _made(self.trt, 'IOptimizationProfile', shapes={})

    def build_serialized_network(self, network, config):
        trt, options = self.trt, config._state
        monitor = options.get('progress_monitor')
        if monitor:
            monitor.phase_start('Building engine', None, 1)
            if not monitor.step_complete('Building engine', 0):
                return None
            monitor.phase_finish('Building engine')
        error = _build_error(trt, network, options)
        if error:
            self._state['logger'].log(trt.ILogger.Severity.ERROR, error)
            return None
        if options['cache'] is not None:
            options['cache']._state['data'] += b' timed'
        return trt.IHostMemory(
            pickle.dumps(
                dict(
                    version=trt.__version__,
                    gpu=trt.state['gpu'],
                    profiles=options['profiles'],
                    onnx=_weighed(trt, network._state['model'], options['on']),
                    flags={f.name for f in options['on']},
                    typed='STRONGLY_TYPED' in network._state['on']
                    or not hasattr(trt.BuilderFlag, 'FP16'),
                    held=[
                        layer.name
                        for layer in network._state['layers']
                        if layer._state.get('precision')
                    ],
                    pools={pool.name: size for pool, size in options['pools'].items()},
                    settings={
                        name: getattr(value, 'name', value)
                        for name, value in options.items()
                        if name
                        in (
                            'DLA_core',
                            'builder_optimization_level',
                            'default_device_type',
                            'hardware_compatibility_level',
                            'profiling_verbosity',
                            'plugins_to_serialize',
                        )
                    },
                )
            )
        )


def _weighed(trt, model, flags):
    """The file; of a stripped plan without what is in its weights."""
    if getattr(trt.BuilderFlag, 'STRIP_PLAN', None) in flags:
        model = onnx.ModelProto.FromString(model.SerializeToString())
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                zeros = np.zeros(tuple(tensor.dims), np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    return model.SerializeToString()


def _build_error(trt, network, options):
    on = {flag.name for flag in options['on']}
    typed = 'STRONGLY_TYPED' in network._state['on'] or not hasattr(trt.BuilderFlag, 'FP16')
    model = network._state['model']
    half = any(each.data_type == onnx.TensorProto.FLOAT16 for each in model.graph.initializer)
    quantized = any(node.op_type == 'QuantizeLinear' for node in model.graph.node)
    if typed and on & {'FP16', 'BF16', 'INT8', 'FP8', 'OBEY_PRECISION_CONSTRAINTS'}:
        return 'Error Code 4: API Usage Error (a strongly typed network takes no precision flags)'
    if not typed and (half and 'FP16' not in on or quantized and 'INT8' not in on):
        return (
            'Error Code 4: Internal Error (fp16 or int8 precision has been set for a layer or '
            'layer output, but is not configured in the builder)'
        )
    for each in model.graph.input:
        dynamic = any(not dim.dim_value for dim in each.type.tensor_type.shape.dim)
        if (
            dynamic
            and not all(each.name in shapes for shapes in options['profiles'])
            or dynamic
            and not options['profiles']
        ):
            return (
                'Error Code 4: Internal Error (Network has dynamic or shape inputs, but no '
                'optimization profile has been defined.)'
            )
    return None


class _Config:
    def set_flag(self, flag):
        self._state['on'].add(flag)

    def clear_flag(self, flag):
        self._state['on'].discard(flag)

    def get_flag(self, flag):
        return flag in self._state['on']

    flags = property(lambda self: sum(1 << int(flag) for flag in self._state['on']))
    num_optimization_profiles = property(lambda self: len(self._state['profiles']))

    def set_memory_pool_limit(self, pool, pool_size):
        self._state['pools'][pool] = pool_size

    def add_optimization_profile(self, profile):
        self._state['profiles'].append(profile._state['shapes'])
        return len(self._state['profiles']) - 1

    def create_timing_cache(self, serialized_timing_cache):
        here = f'{self.trt.__version__} {self.trt.state["gpu"]}'.encode()
        return _made(self.trt, 'ITimingCache', data=bytes(serialized_timing_cache) or here)

    def set_timing_cache(self, cache, ignore_mismatch):
        here = f'{self.trt.__version__} {self.trt.state["gpu"]}'.encode()
        fits = ignore_mismatch or cache._state['data'].startswith(here)
        self._state['cache'] = cache if fits else self._state['cache']
        return fits

    def get_timing_cache(self):
        return self._state['cache']


class _TimingCache:
    def serialize(self):
        return self.trt.IHostMemory(self._state['data'])


class _HostMemory:
    nbytes = property(len)


class _Network:
    num_layers = property(lambda self: len(self._state['layers']))

    def get_layer(self, index):
        return self._state['layers'][index]


class _Layer:
    num_outputs = property(lambda self: len(self._state['outputs']))

    def get_output(self, index):
        return _made(self.trt, 'ITensor', dtype=self._state['outputs'][index])

    def set_output_type(self, index, dtype):
        assert self._state['outputs'][index] == dtype


class _Profile:
    def set_shape(self, input, min, opt, max):
        self._state['shapes'][input] = tuple(min), tuple(opt), tuple(max)


class _Parser:
    def __init__(self, network, logger):
        assert self.trt.state['plugins'], 'init_libnvinfer_plugins comes first'
        self._state.update(network=network, errors=[], on=set())

    num_errors = property(lambda self: len(self._state['errors']))

    def set_flag(self, flag):
        self._state['on'].add(flag)

    def get_used_vc_plugin_libraries(self):
        return ['libnvinfer_vc_plugin.so']

    def get_error(self, index):
        return _made(self.trt, 'ParserError', **self._state['errors'][index])

    def parse_from_file(self, model):
        trt, network = self.trt, self._state['network']
        loaded = onnx.load(model)
        if trt.__version__.startswith('8.') and 'EXPLICIT_BATCH' not in network._state['on']:
            self._state['errors'].append(
                dict(
                    node=-1,
                    desc=(
                        'This version of the ONNX parser only supports networks with an '
                        'explicit batch dimension'
                    ),
                )
            )
            return False
        for index, node in enumerate(loaded.graph.node):
            if node.op_type in trt.state['lacks']:
                self._state['errors'].append(
                    dict(
                        node=index,
                        node_name=node.name,
                        node_operator=node.op_type,
                        desc='No importer registered for op: ' + node.op_type,
                    )
                )
        network._state.update(model=loaded, layers=_layers(trt, loaded))
        return not self._state['errors']


def _layers(trt, model):
    known = onnx.shape_inference.infer_shapes(model).graph
    types = {
        each.name: each.type.tensor_type.elem_type for each in (*known.value_info, *known.output)
    }
    layers = []
    for node in model.graph.node:
        outputs = [
            DTYPES[np.dtype(onnx.helper.tensor_dtype_to_np_dtype(types[name]))]
            for name in node.output
            if types.get(name)
        ]
        kind = LAYERS.get(node.op_type, 'ELEMENTWISE')
        layers.append(
            _made(
                trt,
                'ILayer',
                name=node.name,
                type=getattr(trt.LayerType, kind),
                outputs=[
                    getattr(trt.DataType, name, trt.DataType.INT32) for name in outputs or ['FLOAT']
                ],
            )
        )
    return layers


class _ParserError:
    def node(self):
        return self._state['node']

    def desc(self):
        return self._state['desc']

    def node_name(self):
        return self._state.get('node_name', '')

    def node_operator(self):
        return self._state.get('node_operator', '')


class _Runtime:
    def __init__(self, logger):
        if self.trt.state['gpu'] is None:
            raise TypeError('pybind11::init(): factory function returned nullptr')
        self._state['logger'] = logger

    def deserialize_cuda_engine(self, serialized_engine):
        trt = self.trt
        assert trt.state['plugins'], 'init_libnvinfer_plugins comes first'
        try:
            plan = pickle.loads(serialized_engine)
        except Exception:
            error = (
                'IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization '
                'assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)'
            )
        else:
            error = None
            if plan['version'] != trt.__version__:
                error = (
                    'The engine plan file is not compatible with this version of TensorRT, '
                    f'expecting library version {trt.__version__} got {plan["version"]}, '
                    'please rebuild.'
                )
            elif plan['gpu'] != trt.state['gpu']:
                error = (
                    'The engine plan file is generated on an incompatible device, expecting '
                    f'compute {trt.state["gpu"]} got compute {plan["gpu"]}, please rebuild.'
                )
            elif 'VERSION_COMPATIBLE' in plan['flags'] and not self._state.get(
                'engine_host_code_allowed'
            ):
                error = (
                    'Cannot deserialize engine with lean runtime since '
                    'IRuntime::getEngineHostCodeAllowed() is false.'
                )
        if error:
            self._state['logger'].log(trt.ILogger.Severity.ERROR, error)
            return None
        session = onnxruntime.InferenceSession(plan['onnx'])
        return _made(
            trt,
            'ICudaEngine',
            plan=plan,
            session=session,
            tensors={each.name: each for each in (*session.get_inputs(), *session.get_outputs())},
        )


class _Refitter:
    def __init__(self, engine, logger):
        self._state.update(engine=engine, logger=logger, onnx=None)

    def refit_cuda_engine(self):
        engine = self._state['engine']
        engine._state['plan']['onnx'] = self._state['onnx']
        engine._state['session'] = onnxruntime.InferenceSession(self._state['onnx'])
        return True


class _ParserRefitter:
    def __init__(self, refitter, logger):
        self._state.update(refitter=refitter, logger=logger)

    def refit_from_file(self, model):
        refitter, new = self._state['refitter']._state, onnx.load(model)
        old = onnx.load_from_string(refitter['engine']._state['plan']['onnx'])
        if [node.name for node in old.graph.node] != [node.name for node in new.graph.node]:
            error = 'Error Code 4: the names of the weights do not match those of the engine'
            self._state['logger'].log(self.trt.ILogger.Severity.ERROR, error)
            return False
        refitter['onnx'] = new.SerializeToString()
        return True


class _SerializationConfig:
    def clear_flag(self, flag):
        self._state['on'].discard(flag)
        return True


class _Engine:
    refittable = property(
        lambda self: bool(self._state['plan']['flags'] & {'REFIT', 'REFIT_IDENTICAL'})
    )

    def create_serialization_config(self):
        stripped = self.trt.BuilderFlag.STRIP_PLAN.name in self._state['plan']['flags']
        flags = {self.trt.SerializationFlag.EXCLUDE_WEIGHTS} if stripped else set()
        return _made(self.trt, 'ISerializationConfig', on=flags)

    def serialize_with_config(self, config):
        assert not config._state['on']
        return self.trt.IHostMemory(pickle.dumps(self._state['plan']))

    num_io_tensors = property(lambda self: len(self._state['tensors']))
    num_optimization_profiles = property(lambda self: max(1, len(self._state['plan']['profiles'])))

    def get_tensor_name(self, index):
        return list(self._state['tensors'])[index]

    def get_tensor_mode(self, name):
        inputs = {each.name for each in self._state['session'].get_inputs()}
        return self.trt.TensorIOMode.INPUT if name in inputs else self.trt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return tuple(
            side if isinstance(side, int) else -1 for side in self._state['tensors'][name].shape
        )

    def get_tensor_dtype(self, name):
        kind = self._state['tensors'][name].type.removeprefix('tensor(').removesuffix(')')
        return getattr(
            self.trt.DataType,
            DTYPES[np.dtype({'float': 'float32'}.get(kind, kind.replace('bool', '?')))],
        )

    def get_tensor_profile_shape(self, name, profile_index):
        profiles = self._state['plan']['profiles']
        return (
            list(profiles[profile_index][name])
            if profiles and name in profiles[profile_index]
            else [self.get_tensor_shape(name)] * 3
        )

    def create_execution_context(self):
        return _made(self.trt, 'IExecutionContext', engine=self, profile=0, shapes={}, addresses={})

    def create_engine_inspector(self):
        return _made(self.trt, 'EngineInspector', engine=self)


class _Context:
    active_optimization_profile = property(lambda self: self._state['profile'])

    def set_optimization_profile_async(self, profile_index, stream_handle):
        self._state.update(profile=profile_index, shapes={})
        return True

    def set_input_shape(self, name, shape):
        engine = self._state['engine']
        least, _, most = engine.get_tensor_profile_shape(name, self._state['profile'])
        fits = all(a <= b <= c for a, b, c in zip(least, shape, most))
        if fits:
            self._state['shapes'][name] = tuple(shape)
        return fits

    def infer_shapes(self):
        return [
            each.name
            for each in self._state['engine']._state['session'].get_inputs()
            if each.name not in self._state['shapes']
        ]

    def get_tensor_shape(self, name):
        if name in self._state['shapes']:
            return self._state['shapes'][name]
        zeros = {
            key: np.zeros(shape, _dtype(self, key)) for key, shape in self._state['shapes'].items()
        }
        return self._state['engine']._state['session'].run([name], zeros)[0].shape

    def set_tensor_address(self, name, memory):
        self._state['addresses'][name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        session = self._state['engine']._state['session']
        feeds = {
            key: np.copy(_array(self, key, shape)) for key, shape in self._state['shapes'].items()
        }
        for each, value in zip(session.get_outputs(), session.run(None, feeds)):
            _array(self, each.name, value.shape)[...] = value
        profiler = self._state.get('profiler')
        for index, node in enumerate(_nodes(self._state['engine']) if profiler else ()):
            profiler.report_layer_time(node.name, 0.001 * (index + 1))
        return True


def _nodes(engine):
    return onnx.load_from_string(engine._state['plan']['onnx']).graph.node


def _array(context, name, shape):
    dtype = np.dtype(_dtype(context, name))
    size = int(np.prod(shape)) * dtype.itemsize
    memory = (ctypes.c_byte * size).from_address(context._state['addresses'][name])
    return np.frombuffer(memory, dtype).reshape(shape)


def _dtype(context, name):
    return NUMPY[context._state['engine'].get_tensor_dtype(name).name]


class _Inspector:
    def get_engine_information(self, format):
        assert format == self.trt.LayerInformationFormat.JSON
        return json.dumps(
            dict(
                Layers=[
                    dict(
                        Name=node.name,
                        LayerType=node.op_type,
                        Metadata=f'[ONNX Layer: {node.name}]',
                    )
                    for node in _nodes(self._state['engine'])
                ]
            )
        )


class _Ignoring:
    def log(self, severity, msg):
        pass


IMITATIONS = dict(
    Builder=_Builder,
    IBuilderConfig=_Config,
    ITimingCache=_TimingCache,
    IHostMemory=_HostMemory,
    INetworkDefinition=_Network,
    ILayer=_Layer,
    IOptimizationProfile=_Profile,
    ISerializationConfig=_SerializationConfig,
    OnnxParser=_Parser,
    OnnxParserRefitter=_ParserRefitter,
    ParserError=_ParserError,
    Refitter=_Refitter,
    Runtime=_Runtime,
    ICudaEngine=_Engine,
    IExecutionContext=_Context,
    EngineInspector=_Inspector,
    Logger=_Ignoring,
)
