"""What the docs tell a reader to type or to open exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'configs/README.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
]
TEXTS = [*PAGES, *sorted((ROOT / 'tools').glob('*.py'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page):
    links = re.findall(r'\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)', page.read_text())
    for link, anchor in links:
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f'{link}#{anchor}'


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S)
    headings = re.findall(r'^#+ (.+)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_the_index_of_the_site_has_every_page():
    def listed(page: Path) -> set[Path]:
        blocks = re.findall(r'^```\{toctree\}\n(.*?)^```', page.read_text(), re.M | re.S)
        names = [
            name for block in blocks for name in block.split('\n') if name[:1] not in ('', ':')
        ]
        return {(page.parent / f'{name}.md').resolve() for name in names}

    index, api = ROOT / 'docs/index.md', ROOT / 'docs/api/index.md'
    pages = listed(index) | listed(api)
    assert {*(ROOT / 'docs').rglob('*.md')} - {index} <= pages
    assert all(page.is_file() for page in pages)


def test_the_site_documents_every_public_module_that_the_docs_name():
    text = ''.join(path.read_text() for path in (ROOT / 'docs/api').glob('*.md'))
    documented = {*re.findall(r'automodule:: ([\w.]+)', text)}
    named = {
        name
        for page in PAGES
        for name in re.findall(r'(?:from|import) (mmtrtvit(?:\.\w+)+)', page.read_text())
    }
    rooms = {name.rpartition('.')[0] for name in documented}  # of packages their modules are there
    assert named and named <= documented | rooms, named - documented - rooms


@pytest.mark.parametrize('tool', sorted((ROOT / 'tools').glob('*.py')), ids=lambda path: path.name)
def test_help_and_documented_options(tool):
    """``--help`` ends well and knows every option that the docs give the tool."""
    help_texts = [_help(tool)]
    for command in re.findall(r'\{([\w,]+)\}', help_texts[0]):
        for name in command.split(',') if 'work_dir' not in command else ():
            if re.search(rf'^ +{name} ', help_texts[0], re.M):
                help_texts.append(_help(tool, name))
    known = set(re.findall(r'--[\w-]+', ' '.join(help_texts)))
    used = {
        option
        for page in TEXTS
        for line in re.findall(rf'tools/{tool.name}([^\n`]*)', page.read_text())
        for option in re.findall(r'--[\w-]+', line.split('#')[0])
    }
    assert used <= known, used - known


def test_documented_configs_exist():
    names = {name for page in TEXTS for name in re.findall(r'configs/[\w/]+\.py', page.read_text())}
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]


def test_the_python_of_the_readme_runs(small_models, monkeypatch, capsys):
    """As after ``make demo``, but with a small model, which is sure of nothing."""
    (code,) = re.findall(
        r'```python\n(from mmtrtvit.+?)```', (ROOT / 'README.md').read_text(), re.S
    )
    for demo, small in (
        ('configs/demo/retinanet_trtvit_b.py', 'retinanet.py'),
        ('work_dirs/demo/retinanet_trtvit_b', 'retinanet.pth'),
        ('> 0.4', '> 0'),
    ):
        assert demo in code
        code = code.replace(demo, small)
    monkeypatch.chdir(small_models)
    exec(code, {})
    assert re.match(r'tensor\(\[\[.+\d.*\]\]\)', capsys.readouterr().out.replace('\n', ''))


def test_make_targets_in_the_docs_exist():
    targets = set(re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.M))
    used = {
        target for page in PAGES for target in re.findall(r'^make (\w+)', page.read_text(), re.M)
    }
    assert used and used <= targets


def _help(tool: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, tool, *arguments, '--help'], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
