"""Models that somebody else runs: Z.ai, vLLM, SGLang, llama-server, and any OpenAI-compatible server."""

from glm_lsp.engines.remote.counting import RemoteTokenizer
from glm_lsp.engines.remote.engine import RemoteEngine, availability, counts_for_us, is_misset, stays_here

__all__ = ["RemoteEngine", "RemoteTokenizer", "availability", "counts_for_us", "is_misset", "stays_here"]
