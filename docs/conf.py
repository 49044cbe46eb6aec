"""Sphinx's settings for the site of these pages.

Pages lie where GitHub shows them, and their links are those of GitHub: the whole repository is the
source, of which only the pages below are built.

Example:
  sphinx-build -W --keep-going -c docs . build/docs
"""

import sys
from pathlib import Path

from mmtrtvit.version import __version__

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'docs'))  # where the extension `directives` lies

project = 'mmtrtvit'
author = copyright = 'The mmtrtvit contributors'
release = version = __version__

root_doc = 'docs/index'
include_patterns = [
    'docs/**.md',
    'configs/README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
]
# Not looked into. What is not built stays a file that pages may link to.
exclude_patterns = [
    path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ('docs', 'configs')
]

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'directives',
]
myst_heading_anchors = 4  # deploy.md#the-comparison, as on GitHub

autodoc_default_options = dict(members=True, member_order='bysource', show_inheritance=True)
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
napoleon_use_rtype = False
napoleon_use_ivar = True
suppress_warnings = ['ref.python']  # names such as `bytes`, of which several classes have one
python_use_unqualified_type_names = True
add_module_names = False

highlight_language = 'none'  # of blocks that name none: what a tool prints

html_theme = 'furo'
html_title = f'mmtrtvit {release}'
html_extra_path = ['site']  # the address without a page leads to docs/index.html
html_static_path = ['static']
html_css_files = ['site.css']
html_copy_source = False
html_show_sphinx = False
html_theme_options = dict(navigation_with_keys=True)
