"""How the documents are built: ``sphinx-build -W -b html docs build/docs``."""

from __future__ import annotations

import pspfast

project = "pspfast"
version = release = pspfast.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"pspfast {pspfast.__version__}"

nitpicky = False  # types of other libraries are not looked up: no network
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Other libraries' classes are not taken apart, and need not be installed.
autodoc_mock_imports = ["mmcv", "mmengine", "mmseg", "onnx", "onnxruntime", "onnxsim", "torch", "torchmetrics"]
