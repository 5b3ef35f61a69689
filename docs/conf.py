"""Sphinx configuration: ``sphinx-build -W docs docs/_build``."""

from importlib.util import find_spec

from meminstr import __version__

project = "meminstr"
author = "The meminstr authors"
copyright = "the meminstr authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "outputs", "examples", "images", "static"]
html_theme = "furo"
html_title = "meminstr"
html_static_path = ["static"]
html_css_files = ["meminstr.css"]
html_show_sourcelink = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
_optional = ("dask", "distributed", "tornado", "celery", "billiard")
autodoc_mock_imports = [name for name in _optional if find_spec(name) is None]
default_role = "code"
nitpicky = False
