"""What a test needs of the processor, and skips without."""

import pytest
import torch

# oneDNN multiplies bfloat16 with AVX512 or AVX-NE-CONVERT; without them its layout of such weights is refused.
HAS_BFLOAT16 = not torch.backends.mkldnn.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
needs_bfloat16 = pytest.mark.skipif(not HAS_BFLOAT16, reason="oneDNN has no products of bfloat16 for this processor")
