"""Sphinx configuration: ``sphinx-build -W docs docs/_build``."""

from meminstr import __version__

project = "meminstr"
author = "The meminstr authors"
copyright = "the meminstr authors"  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "outputs", "examples", "images"]
html_theme = "furo"
html_title = "meminstr"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"
nitpicky = False
