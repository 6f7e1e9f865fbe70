"""Configuration of the documentation; build it with ``sphinx-build -W docs docs/_build/html``."""

import os
import sys
from pathlib import Path

import latticework

# The gallery uses a real acquisition where there is one.
_shared = Path(__file__).resolve().parents[2] / "shared" / "data"
if _shared.is_dir():
    os.environ.setdefault("LATTICEWORK_SHARED_DATA", str(_shared))

project = "latticework"
author = "the latticework developers"
copyright = "2026, the latticework developers"  # noqa: A001 - Sphinx reads this name
version = release = latticework.__version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
extensions = [
    "terminal",  # commands on a page are carried out, ours: see _ext/terminal.py
    "small_slurm",  # a small cluster for the page on SLURM, ours: see _ext/small_slurm.py
    "myst_nb",  # pages are Markdown; pages that start as notebooks are executed
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext", "benchmarks", "jupyter_execute"]

html_theme = "pydata_sphinx_theme"
html_title = "latticework"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
# Pages without pages below them have nothing to list at the left.
html_sidebars = {
    page: []
    for page in (
        "index",
        "install",
        "first-steps",
        "model",
        "design",
        "limits",
        "changelog",
        "contributing",
        "benchmarks",
    )
}
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# A page that fails to run fails the build. Pages run where they leave nothing behind.
nb_execution_mode = "cache" if os.environ.get("LATTICEWORK_DOCS_CACHE") else "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
default_role = "py:obj"  # `Lattice` in a docstring is a link
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
