"""Python in the docs: configs are inherited and built, the rest names what there is."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.hosts import import_host

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
BLOCKS = {
    f'{page.relative_to(ROOT)} {number}': block
    for page in PAGES
    for number, block in enumerate(
        re.findall(r'^```python\n(.*?)^```', page.read_text(), re.M | re.S)
    )
}
# Configs and parts of configs: what they inherit from, unless they say it themselves.
INHERIT = {
    'README.md 1': 'retinanet_efficientvit_m4.py',
    'README.md 2': None,
    'docs/classification.md 1': None,
    'docs/classification.md 2': 'retinanet_efficientvit_m4.py',
    'docs/distill.md 0': 'classification/distill_trtvit_b.py',
    'docs/distill.md 1': None,
    'docs/first_detector.md 0': None,
    'docs/inherit.md 11': 'retinanet_trtvit_b.py',
    'docs/speed.md 2': 'retinanet_trtvit_b.py',
    'docs/timm.md 2': 'retinanet_trtvit_b.py',
    'docs/weights.md 0': 'retinanet_efficientvit_m4.py',
}
# What runs, and where.
RUN = {
    'README.md 0': 'tests/test_docs.py',
    'docs/infer.md': 'tests/engine/test_inference.py',
    'docs/inherit.md': 'tests/test_inheritance.py',
    'docs/own_data.md': 'tests/tools/test_check_data.py',
    'docs/runtime.md': 'tests/runtime/test_documented.py',
    'docs/timm.md 0': 'tests/test_timm_models.py',
    'docs/train.md': 'tests/engine/test_augment.py',
}
# What does not, and why; its names are looked up all the same.
NOT_RUN = {
    'docs/classification.md 0': 'data sets of a reader; the arguments are bound below',
    'docs/models.md 0': 'a part of a config; built below',
    'docs/openvino.md 0': 'needs a model of OpenVINO: tests/runtime/sessions has some',
    'docs/speed.md 0': 'one line, which tests/models/fast is about',
    'docs/speed.md 1': 'bf16 is not on every processor',
    'docs/timm.md 1': "needs timm's train.py, which is not in its package",
    'docs/your_device.md 0': 'a part of a config with an ellipsis',
}
# Languages of blocks, and what tests them.
LANGUAGES = {
    '': 'what a tool prints, or files: read by nobody but people',
    'bash': 'test_commands.py, test_runs.py',
    'python': 'below',
    'js': 'the page says when it was run; node and its packages are in no extra',
    'cpp': 'the page says when it was run; needs headers that pip does not install',
    'java': 'needs the jar of ONNX Runtime; the page says how it was run',
    '{eval-rst}': 'make docs',
    '{messages}': 'make docs',
    '{toctree}': 'make docs, tests/test_docs.py',
}


def test_every_language_has_its_test_or_its_reason():
    found = set()
    for page in PAGES:
        fences = re.findall(r'^```(\S*)$', page.read_text(), re.M)
        found |= {*fences[::2]}  # each second one ends a block
    assert found == {*LANGUAGES}


def test_every_block_has_its_test_or_its_reason():
    for block in BLOCKS:
        page = block.split()[0]
        places = [table for table in (INHERIT, NOT_RUN) if block in table]
        places += [RUN] * (not places and (block in RUN or page in RUN))
        assert len(places) == 1, block
    for table in (INHERIT, NOT_RUN, RUN):
        assert all(name in BLOCKS or f'{name} 0' in BLOCKS for name in table)
    for test in RUN.values():
        assert (ROOT / test).is_file()


@pytest.mark.parametrize('name', BLOCKS)
def test_names(name):
    """Imports from our package exist, and functions that are called take what they are given."""
    tree = ast.parse(BLOCKS[name])
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith('mmtrtvit'):
            module = importlib.import_module(node.module)
            known.update(
                {each.asname or each.name: getattr(module, each.name) for each in node.names}
            )
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name.startswith('mmtrtvit'):
                    importlib.import_module(each.name)
                    known['mmtrtvit'] = importlib.import_module('mmtrtvit')
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (function := find(node.func, known)):
            bind(function, node)


@pytest.mark.parametrize('name', INHERIT)
def test_configs(name, tmp_path):
    """The config is read with our tools' checks, and its model is built."""
    base, text = INHERIT[name], BLOCKS[name]
    text = text.replace("_base_ = 'trt", f"_base_ = '{ROOT}/configs/classification/trt")
    if base:
        text = f"_base_ = '{ROOT}/configs/{base}'\n{text}"
    if "type='TRTViT'" in text and '_delete_' not in text:
        text = text.replace("type='TRTViT'", "_delete_=True, type='TRTViT'")
    path = tmp_path / 'config.py'
    path.write_text(text)
    config = read_config(path)
    import_host(config.default_scope)
    registry = importlib.import_module(f'{config.default_scope}.registry').MODELS
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device('meta'):
        assert any(True for _ in registry.build(config.model).parameters())


def test_the_parts_that_are_no_config_of_their_own():
    from mmengine.registry import MODELS

    names = {}
    exec(BLOCKS['docs/models.md 0'], names)
    with torch.device('meta'):
        assert MODELS.build(names['backbone']).out_channels == (256, 512, 1024, 1536)
    from mmtrtvit.classification import readers

    for line in ast.parse(BLOCKS['docs/classification.md 0']).body:
        words = {each.arg: each.value for each in line.value.keywords}
        kind = getattr(readers, words.pop('type').value)
        inspect.signature(kind).bind(**words)


def find(node, known):
    """The object of ours that a name or an attribute stands for; None for others."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = find(node.value, known)
        return getattr(owner, node.attr) if owner is not None else None
    return None


def bind(function, call):
    if any(isinstance(each, ast.Starred) for each in call.args):
        return
    inspect.signature(function).bind(
        *call.args, **{each.arg: each.value for each in call.keywords if each.arg}
    )
