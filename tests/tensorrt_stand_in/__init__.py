"""Stand-ins for TensorRT's Python package, one for each recorded version.

A stand-in has the classes, methods, properties, signatures and enums of ``api.json``, which
:mod:`.record` reads off the real bindings, and nothing else: whatever a version lacks raises as it
does there. What TensorRT does is imitated where mmtrtvit uses it, see :mod:`.imitations`.
"""

import enum
import json
from pathlib import Path
from types import ModuleType

from .imitations import IMITATIONS

API = json.loads(Path(__file__).with_name('api.json').read_text())


def make(version, gpu='8.9', lacks=(), dla_cores=0):
    """Makes a stand-in.

    Args:
        version: One of ``API``.
        gpu: Compute capability of the GPU, or None for a machine without one.
        lacks: Ops that the parser does not know.
        dla_cores: Accelerators for deep learning beside the GPU.
    """
    api = API[version]
    trt = ModuleType('tensorrt')
    trt.__version__ = version
    for name, members in api['enums'].items():
        setattr(trt, name, enum.Enum(name, members, type=_Member))
    for name, members in api['classes'].items():
        setattr(trt, name, _make_class(trt, name, members, api))
    trt.ILogger.Severity = enum.Enum(
        'Severity', dict(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
    )
    trt.init_libnvinfer_plugins = lambda logger, namespace: trt.state.update(plugins=True)
    trt.state = dict(gpu=gpu, lacks=set(lacks), plugins=False, dla_cores=dla_cores)
    return trt


class _Member:
    """Members of the bindings' enums are no numbers, but have one."""

    def __int__(self):
        return self.value


def _make_class(trt, name, members, api):
    imitation = IMITATIONS.get(name, object)
    base = bytearray if name == 'IHostMemory' else object
    body = {'__slots__': ('_state',) if base is object else (), 'trt': trt}
    for method, overloads in members['methods'].items():
        body[method] = _make_method(trt, name, method, overloads, getattr(imitation, method, None))
    for prop, kind in members['properties'].items():
        body[prop] = _make_property(trt, prop, kind, getattr(imitation, prop, None))
    if base is object:
        body.setdefault('__init__', _no_constructor)
    return type(name, (base,), body)


def _no_constructor(self, *args):
    raise TypeError(f'{type(self).__name__}: No constructor defined!')


def _make_method(trt, owner, name, overloads, imitation):

    def method(self, *args, **kwargs):
        if not any(_fits(trt, parameters, args, kwargs) for parameters in overloads):
            raise TypeError(
                f'{owner}.{name}(): incompatible function arguments: {args} {kwargs}; '
                f'supported: {overloads}'
            )
        if name == '__init__':
            self._state = {}
            if imitation is not object.__init__ and imitation is not None:
                imitation(self, *args, **kwargs)
            return None
        if imitation is None:
            raise NotImplementedError(f'the stand-in does not imitate {owner}.{name}')
        return imitation(self, *args, **kwargs)

    return method


def _make_property(trt, name, kind, imitation):
    if isinstance(imitation, property):
        return imitation

    def get(self):
        return self._state.get(name)

    def put(self, value):
        if not _is_a(trt, kind, value):
            raise TypeError(f'{name}: {value!r} is no {kind}')
        self._state[name] = value

    return property(get, None if kind.endswith('!') else put)


def _fits(trt, parameters, args, kwargs):
    named = [each.partition(':') for each in parameters]
    given = dict(zip((name for name, _, _ in named), args)) | kwargs
    known = {name: kind for name, _, kind in named}
    needed = {name for name, kind in known.items() if not kind.endswith('?')}
    return (
        len(args) <= len(named)
        and needed <= given.keys() <= known.keys()
        and all(_is_a(trt, known[name].rstrip('?'), value) for name, value in given.items())
    )


def _is_a(trt, kind, value):
    plain = {
        'int': int,
        'SupportsInt': int,
        'str': str,
        'bool': bool,
        'tuple': tuple,
        'list': list,
        'float': (float, int),
        'SupportsFloat': (float, int),
        'Dims': (tuple, list),
        'buffer': (bytes, bytearray, memoryview),
        'Buffer': (bytes, bytearray, memoryview),
    }
    expected = plain.get(kind) or getattr(trt, kind, None)
    return not isinstance(expected, type | tuple) or isinstance(value, expected)
