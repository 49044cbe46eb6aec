"""Files of weights: ours and those of other projects."""

import mmengine  # noqa: F401  before our own modules: see mmtrtvit.registration
