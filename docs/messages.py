"""What our errors say, read from the source: see docs/messages.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'mmtrtvit'
# Classes of errors that a user sees without a traceback.
ERRORS = 'UserError', 'NoMemory', 'TimedOut', 'NoTensorRT', 'Unavailable', 'EngineUnavailable'
LEAST = 15  # letters of a message that tells something without its values
GAP = '...'
# The page that tells more, by the beginning of a module's path.
PAGES = {
    'analysis': 'analyses',
    'annotations': 'own_data',
    'classification': 'classification',
    'datasets': 'own_data',
    'deploy': 'deploy',
    'deploy/backends/onnxruntime': 'onnxruntime',
    'deploy/backends/openvino': 'openvino',
    'deploy/backends/tensorrt': 'tensorrt',
    'deploy/triton': 'triton',
    'engine': 'train',
    'models': 'models',
    'publish': 'weights',
    'report': 'report',
    'runtime': 'runtime',
    'weights': 'weights',
}


def messages(package: Path = PACKAGE) -> Iterator[tuple[str, str]]:
    """Gives the path of a module and a message of it, with ``...`` for values."""
    for path in sorted(package.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and node.args and _name(node.func) in ERRORS:
                text = re.sub(r'\.{4,}', GAP, ' '.join(template(node.args[0]).split()))
                if len(text.replace(GAP, '')) >= LEAST:
                    yield path.relative_to(package).as_posix(), text


def template(node: ast.AST) -> str:
    """Returns the text of an expression, with ``...`` for what it computes."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(template, node.values))
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return GAP


def page_of(module: str) -> str:
    """Returns the name of the page on a module."""
    found = [room for room in PAGES if module.startswith(room)]
    return PAGES[max(found, key=len)] if found else 'troubleshooting'


def _name(node: ast.AST) -> str:
    return getattr(node, 'id', getattr(node, 'attr', ''))
