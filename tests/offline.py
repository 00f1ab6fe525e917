"""No test asks the hub, a GPU or the user's own models: read before torch and huggingface_hub are.

Where there is no network none waits half a minute to be told so.
"""

import atexit
import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

for cache in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE"):
    os.environ.pop(cache, None)
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="conjure-st-tests-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

for name in ("NO_PROXY", "no_proxy"):  # the page's server is on this machine
    os.environ[name] = "127.0.0.1,localhost"
