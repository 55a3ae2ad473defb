"""Models that somebody else runs: Z.ai, vLLM, SGLang, llama-server, and any OpenAI-compatible server."""

from glm_lsp.engines.remote.engine import RemoteEngine, availability, is_misset, stays_here

__all__ = ["RemoteEngine", "availability", "is_misset", "stays_here"]
