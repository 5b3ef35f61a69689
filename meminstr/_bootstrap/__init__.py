"""A folder that ``meminstr run --follow-children`` puts first on ``PYTHONPATH``: Python imports its `sitecustomize`."""
