"""Every command in the docs is read by the parser of its tool, and its configs and keys exist."""

import importlib.util
import io
import re
import shlex
import sys
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from pages import OTHERS, commands

import mmtrtvit
from mmtrtvit import __main__ as package
from mmtrtvit.deploy.workflow import read_deploy_config
from mmtrtvit.engine.command_line import read_values
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError
from mmtrtvit.paths import tool_path
from mmtrtvit.runtime import __main__ as runtime

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'configs/README.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
]
# Files of a reader's that commands run.
OWN_SCRIPTS = 'SCRIPT', 'my_script.py', 'train_trtvit.py'
# What stands for a number of the reader's.
NUMBERS = dict(GPUS='2', PROCESSES='2', SECONDS='1', N='1')
# A page that names no config speaks of any that takes the keys.
ANY = [
    'demo/retinanet_trtvit_b.py',
    'demo/mask_rcnn_efficientvit_m2.py',
    'demo/upernet_trtvit_a.py',
    'classification/efficientvit_m4_imagenet.py',
]
CONFIGS = 'config', 'model_cfg', 'deploy_cfg'


# What a parser says of a command that a text only mentions.
INCOMPLETE = (
    'the following arguments are required',
    'expected at least one argument',
    'expected one',
)


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for folder in ('benchmarks', 'docs'):  # their scripts import each other
        monkeypatch.syspath_prepend(ROOT / folder)
    lines, mentioned = commands(page)
    wrong = []
    for line in [*lines, *mentioned]:
        try:
            check(line)
        except (AssertionError, UserError) as error:
            if line in lines or not any(words in str(error) for words in INCOMPLETE):
                wrong.append(f'{line}\n{error}')
    assert not wrong, '\n\n'.join(wrong)


def test_the_check_sees_mistakes(monkeypatch):
    monkeypatch.chdir(ROOT)
    for line in (
        'python tools/train.py',
        'python tools/train.py CONFIG --resumee',
        'python tools/train.py configs/retinanet_trtvit_e.py',
        'python tools/train.py configs/fpn_trtvit_b.py --cfg-options train_confg.max_iters=1',
        'tools/test.py CONFIG CHECKPOINT --cfg-options no.such.key=1',
        'tools/deploy.py configs/deploy/onnxruntime.py C W IMG --cfg-options onnx_config.nms=a',
        'mmtrtvit trian CONFIG',
        'mmtrtvit train $(mmtrtvit config retinanet.py)',
        'python -m mmtrtvit.runtime DIR a.jpg --tile wide',
        'pip install "mmtrtvit[nothing]"',
        'frobnicate --all',
    ):
        with pytest.raises((AssertionError, UserError)):
            check(line)


def check(line: str) -> None:
    """Reads a line as its program would."""

    def substitute(match: re.Match) -> str:
        check(match[1])
        name = re.fullmatch(r'mmtrtvit config (\S+)', match[1])
        return mmtrtvit.config_path(name[1]) if name else 'SUBSTITUTED'

    line = re.sub(r'\$\(([^()]*)\)', substitute, line)
    for words in split(shlex.split(line, comments=True)):
        while re.match(r'\w+=', words[0]):
            words = words[1:]
        check_words([NUMBERS.get(word, word) for word in words])


def split(words: list[str]) -> list[list[str]]:
    """Commands of a line, between the signs of a shell."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ('&&', '|', ';'):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def check_words(words: list[str]) -> None:
    program, *rest = words
    name = program.removeprefix('env/bin/').removeprefix('.venv/bin/')
    if name == '--cfg-options':
        check_options(rest)
    elif name == 'pip':
        check_requirements(rest)
    elif name == 'torchrun':
        start = next(i for i, word in enumerate(rest) if word == '-m' or word.endswith('.py'))
        check_words(['python', *rest[start:]])
    elif name == 'pytest':
        paths = [word for word in rest if '/' in word]
        assert paths and all((ROOT / path).exists() for path in paths)
    elif name == 'mmtrtvit':
        check_package(rest)
    elif name == 'python' and '-c' in rest:
        compile(rest[rest.index('-c') + 1], name, 'exec')
    elif name == 'python' and rest[:2] == ['-m', 'mmtrtvit']:
        check_package(rest[2:])
    elif name == 'python' and rest[:2] == ['-m', 'mmtrtvit.runtime']:
        parse(runtime.parse_args, 'runtime', rest[2:])
    elif name == 'python' and rest[:2] == ['-m', 'pytest']:
        pass
    elif name == 'python' and rest[0] not in OWN_SCRIPTS:
        check_words(rest)
    elif name.endswith('.sh'):
        assert (ROOT / name).is_file(), f'there is no {name}'
        check_files(rest)
    elif name.endswith('.py') and name not in OWN_SCRIPTS:
        assert (ROOT / name).is_file(), f'there is no {name}'
        check_tool(ROOT / name, rest)
    else:
        assert name in ('python', *OTHERS), f'{name} is no command that the test knows'


def check_package(words: list[str]) -> None:
    """Reads what follows ``mmtrtvit``."""
    scripts = package.tools()
    command = words[0].replace('_', '-') if words else ''
    if command == 'runtime':
        return parse(runtime.parse_args, 'runtime', words[1:])
    if command in scripts:
        return check_tool(scripts[command], words[1:])
    parser = package.make_parser(dict(package.OWN))
    args = parse(lambda: parser.parse_args(words), 'mmtrtvit', words)
    if args and args.command == 'config':
        mmtrtvit.config_path(args.name)
    if args and args.command == 'run' and '::' in args.script:
        script = Path(tool_path(args.script))
        if args.script.startswith('mmtrtvit::'):
            check_tool(script, args.arguments)


def check_tool(path: Path, words: list[str]) -> None:
    """Reads the command line of a tool or a benchmark, then its config with its options."""
    tool = load(path)
    if hasattr(tool, 'parse_args'):
        args = parse(tool.parse_args, str(path), words)
    else:
        assert not words, f'{path} takes no arguments'
        return
    check_files(words)
    options = getattr(args, 'cfg_options', None) if args else None
    if options:
        config = next((value for key in CONFIGS if (value := getattr(args, key, None))), '')
        scope = 'mmpretrain' if 'classification' in config else None
        check_options(options, getattr(args, 'deploy_cfg', None) or config, scope)


def check_files(words: list[str]) -> None:
    for word in words:
        if re.match(r'(configs|tools|benchmarks|docs|tests)/', word) and '<' not in word:
            assert [*ROOT.glob(word)], f'there is no {word}'


def check_options(texts: list[str], config: str = '', scope: str | None = None) -> None:
    """Puts values into the config that is named, or into one of ours that has their keys."""
    texts = [text for text in texts if '=' in text and '...' not in text]
    if config.startswith('configs/deploy/'):
        read_deploy_config(config, scope or 'mmdet', read_values(texts))
        return
    if any(re.match('(onnx|calib|verify|backend|codebase)_config', text) for text in texts):
        read_deploy_config('configs/deploy/tensorrt_fp16.py', 'mmdet', read_values(texts))
        return
    own = config.startswith('configs/')
    errors = []
    for path in [config] if own else [f'configs/{name}' for name in ANY]:
        try:
            read_config(path, read_values(texts))
            return
        except UserError as error:
            errors.append(str(error))
    raise AssertionError('\n'.join(errors))


def check_requirements(words: list[str]) -> None:
    """Extras that ``pip install`` asks for are in setup.py."""
    known = extras()
    for names in re.findall(r'(?:mmtrtvit|\.)\[([\w,]+)\]', ' '.join(words)):
        assert {*names.split(',')} <= known, f'setup.py has no extras {names}'


@cache
def extras() -> set[str]:
    text = (ROOT / 'setup.py').read_text()
    block = text[text.index('EXTRAS') : text.index('class BuildWithMim')]
    return {*re.findall(r"^    '(\w+)':", block, re.M)}


@cache
def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def parse(parser, program, words):
    """What a parser makes of words; None where they only ask for help or the version."""
    said, before = io.StringIO(), sys.argv
    sys.argv = [program, *words]
    try:
        with redirect_stderr(said):
            return parser()
    except SystemExit as end:
        assert not end.code, said.getvalue() or end.code
        return None
    finally:
        sys.argv = before
