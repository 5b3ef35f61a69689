"""The module that the holder patterns are built in."""

import gc
import sys
import types

import pytest
from holder_patterns import NAME


@pytest.fixture
def shop():
    module = types.ModuleType(NAME)
    sys.modules[NAME] = module
    yield module
    del sys.modules[NAME]
    job = vars(module).pop("job", None)
    if job is not None:
        job.close()
        module.forever.close()
    if "token_of" in vars(module):
        module.request.reset(module.token_of)
    vars(module).clear()
    del module
    gc.collect()
