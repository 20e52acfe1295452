"""What a test needs of the processor, and skips without."""

import pytest

from common.profiles import multiplies_bfloat16

needs_bfloat16 = pytest.mark.skipif(not multiplies_bfloat16(), reason="PyTorch has no fast bfloat16 on this processor")
