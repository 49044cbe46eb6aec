"""Messages that the docs quote are in the source, word by word."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/troubleshooting.md').read_text()
MESSAGES, QUESTIONS = PAGE.split('\n## Questions\n')
# Messages of other programs, and whose they are.
OTHERS = {
    "No module named 'mmcv._ext'": 'Python',
    'TRTViT is not in the mmengine::model registry': 'MMEngine',
    'ImportError: libGL.so.1': 'OpenCV',
    'import cv2': 'what leads to it',
    'Could not import OneDL. Skipping OneDL datasets.': 'onedl-mmdetection',
    'Building wheel for mmcv': 'pip',
    '#error ... C++': 'a compiler',
    'MMCV==2.2.0 is used but incompatible': 'mmdet',
    'need at least one array to concatenate': 'NumPy',
    'Cannot find the config in the checkpoint': 'MMEngine',
    'No space left on device': 'the system',
    'SIGSEGV': 'the system',
    'Could not guard on data-dependent expression': 'PyTorch',
    'Expected more than 1 value per channel when training': 'PyTorch',
}


@pytest.fixture(scope='module')
def script():
    """Names of docs/messages.py."""
    return runpy.run_path(str(ROOT / 'docs/messages.py'))


@pytest.fixture(scope='module')
def said(script):
    """Texts of the package, with ``...`` for values."""
    template = script['template']
    texts = set()
    for path in (ROOT / 'mmtrtvit').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                texts.add(' '.join(template(node).split()))
    return texts


def quotes(text):
    """What stands between backticks in headings of messages."""
    for heading in re.findall(r'^### (.+)$', text, re.M):
        yield from re.findall(r'`([^`]+)`', heading)


def test_quoted_messages(said):
    found = [*quotes(MESSAGES)]
    assert len(found) > 30
    missing = [quote for quote in found if not OTHERS.get(quote) and not is_said(quote, said)]
    assert not missing


def test_messages_of_engines(said):
    rows = re.findall(r'^\| (`.+?) \| .+ \|$', (ROOT / 'docs/tensorrt.md').read_text(), re.M)
    found = [quote for row in rows for quote in re.findall(r'`([^`]+)`', row) if ' ' in quote]
    found = [quote for quote in found if not quote.endswith(('.onnx', '.py')) and '=' not in quote]
    assert len(found) >= 8
    assert not [quote for quote in found if not is_said(quote, said)]


def test_the_list_of_all_messages(script):
    found = [*script['messages']()]
    assert len(found) > 300
    assert ('runtime/work_dir.py', '...: models is empty, expected one with its net.') in found
    pages = {script['page_of'](module) for module, _ in found}
    assert {'tensorrt', 'runtime', 'own_data'} < pages
    assert all((ROOT / f'docs/{page}.md').is_file() for page in pages)


def test_a_wrong_quote_is_seen(said):
    assert is_said('no config file ...', said)
    assert not is_said('no configuration file ...', said)


def test_there_are_fifteen_questions():
    assert len(re.findall(r'^### .+\?$', QUESTIONS, re.M)) >= 15


def is_said(quote, said):
    """Whether a text has the words of a quote between its dots, in their order."""
    parts = [part.strip() for part in quote.split('...') if re.search(r'\w', part)]
    pattern = re.compile('.*'.join(map(re.escape, parts)))
    return bool(parts) and any(pattern.search(text) for text in said)
