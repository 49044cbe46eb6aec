"""Writes down which names TensorRT's Python bindings have, for the stand-in that the tests use.

Example:
  python tests/tensorrt_stand_in/record.py 8.6.1 10.0.1 10.16.1.11 11.4.0.106

The wheels of the bindings come without TensorRT's libraries. They import all the same beside
libraries of those names whose functions, made here by a C compiler, do nothing: classes, methods,
signatures and enums are of the bindings alone.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

FILE = Path(__file__).with_name('api.json')
# What mmtrtvit may call; the bindings have some 200 more classes, most of them layers.
CLASSES = (
    'Builder',
    'EngineInspector',
    'IBuilderConfig',
    'ICudaEngine',
    'IExecutionContext',
    'IHostMemory',
    'ILayer',
    'ILogger',
    'INetworkDefinition',
    'IOptimizationProfile',
    'IProfiler',
    'IProgressMonitor',
    'ISerializationConfig',
    'ITensor',
    'ITimingCache',
    'Logger',
    'OnnxParser',
    'OnnxParserRefitter',
    'ParserError',
    'Refitter',
    'Runtime',
)
ENUMS = (
    'BuilderFlag',
    'DataType',
    'DeviceType',
    'HardwareCompatibilityLevel',
    'LayerInformationFormat',
    'LayerType',
    'MemoryPoolType',
    'NetworkDefinitionCreationFlag',
    'OnnxParserFlag',
    'ProfilingVerbosity',
    'SerializationFlag',
    'TensorIOMode',
    'TensorLocation',
)


def fetch(version: str, folder: Path) -> Path:
    """Downloads and unpacks the bindings of a version; returns the compiled module."""
    package = 'tensorrt-bindings' if version.startswith('8.') else 'tensorrt-cu12-bindings'
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'download',
            '--quiet',
            '--no-deps',
            '--dest',
            folder,
            f'{package}=={version}',
        ],
        check=True,
    )
    (wheel,) = folder.glob('*.whl')
    ZipFile(wheel).extractall(folder)
    return folder / 'tensorrt_bindings/tensorrt.so'


def make_libraries(module: Path, folder: Path) -> None:
    """Makes the libraries that a compiled module asks for, out of functions that do nothing."""
    header = subprocess.run(
        ['readelf', '--dynamic', module], check=True, capture_output=True, text=True
    ).stdout
    symbols = subprocess.run(
        ['nm', '--dynamic', '--undefined-only', module], check=True, capture_output=True, text=True
    ).stdout
    names = [
        name
        for name in re.findall(r'\bU (\w+)$', symbols, re.M)
        if not name.startswith(('Py', '_Py'))
    ]
    source = folder / 'nothing.c'
    source.write_text('\n'.join(f'void *{name}(void) {{ return 0; }}' for name in names))
    for library in re.findall(r'\[(libnv\S+)\]', header):
        subprocess.run(
            ['cc', '-shared', '-fPIC', f'-Wl,-soname,{library}', '-o', folder / library, source],
            check=True,
        )


def describe(trt: ModuleType) -> dict[str, Any]:
    """Enums and classes of the package as plain data."""
    return dict(
        enums={
            name: {member: int(value) for member, value in getattr(trt, name).__members__.items()}
            for name in ENUMS
            if hasattr(trt, name)
        },
        classes={
            name: describe_class(getattr(trt, name)) for name in CLASSES if hasattr(trt, name)
        },
    )


def describe_class(kind: type) -> dict[str, Any]:
    """Signatures of a class's methods, ``name:type`` with ``?`` behind a default, and types of its
    properties, with ``!`` behind one that cannot be set."""
    methods, properties = {}, {}
    for name in dir(kind):
        member = getattr(kind, name)
        if (
            name.startswith('_')
            and name != '__init__'
            or name.startswith('add_')
            and (kind.__name__ == 'INetworkDefinition')
        ):
            continue
        if isinstance(member, property):
            doc = (member.fget.__doc__ or '').strip().split('\n')[0]
            read_only = '!' if member.fset is None else ''
            properties[name] = shorten(doc.rpartition('-> ')[2]) + read_only
        else:
            signatures = re.findall(rf'^(?:\d+\. )?{name}\(self: .*', member.__doc__ or '', re.M)
            if signatures:
                methods[name] = list(map(parameters, signatures))
    return dict(methods=methods, properties=properties)


def parameters(line: str) -> list[str]:
    """``'f(self: A, x: int, y: str = None) -> B'`` as ``['x:int', 'y:str?']``."""
    inside = line.partition('(')[2].rpartition(') ->')[0]
    parts, depth = [''], 0
    for char in inside:
        depth += (char in '([<') - (char in ')]>')
        if char == ',' and not depth:
            parts.append('')
        else:
            parts[-1] += char
    done = []
    for part in parts[1:]:
        declared, has_default, _ = part.strip().partition(' = ')
        name, _, kind = declared.partition(': ')
        done.append(f'{name}:{shorten(kind)}{"?" if has_default else ""}')
    return done


def shorten(kind: str) -> str:
    """A type without the names of its modules."""
    return re.sub(r'[\w.]+\.(?=\w)|\w+::', '', kind)


def record(version: str) -> dict[str, Any]:
    """Describes a version in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_libraries(fetch(version, folder), folder)
        run = subprocess.run(
            [sys.executable, __file__],
            check=True,
            stdout=subprocess.PIPE,
            env={**os.environ, 'LD_LIBRARY_PATH': name, 'PYTHONPATH': name},
        )
    return json.loads(run.stdout)


if __name__ == '__main__':
    if sys.argv[1:]:
        FILE.write_text(
            '{\n'
            + ',\n'.join(
                f'{json.dumps(version)}: {json.dumps(record(version), separators=(",", ":"))}'
                for version in sys.argv[1:]
            )
            + '\n}\n'
        )
    else:
        import tensorrt_bindings

        print(json.dumps(describe(tensorrt_bindings)))
