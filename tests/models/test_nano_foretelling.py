"""The layer that foretells tokens, as it is trained and written, is the one that llama.cpp runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from nano_files import GGUF, training_importable

np = pytest.importorskip("numpy")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")
training_importable()
pytestmark = [pytest.mark.embedded, pytest.mark.train]


@pytest.mark.parametrize("count", [1, 12, 60])
def test_any_weights_give_torch_s_guesses(tmp_path: Path, count: int) -> None:
    """Random weights, a text of random tokens, and the states that the model has after each."""
    torch = pytest.importorskip("torch", reason="torch is not installed (the extra `train`)")
    from foretell import Foretelling, write  # noqa: PLC0415
    from model import Shape  # noqa: PLC0415

    from glm_lsp.core import profiles  # noqa: PLC0415
    from glm_lsp.engines.frames import Load  # noqa: PLC0415
    from glm_lsp.engines.worker.context import Rows  # noqa: PLC0415
    from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415
    from glm_lsp.engines.worker.mtp import Shown  # noqa: PLC0415

    torch.manual_seed(count)
    layer = Foretelling(Shape()).eval()
    for name, parameter in layer.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.2)
        elif "out." in name or "down" in name:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    write(layer, GGUF, tmp_path / "with.gguf", "f32")
    nano = profiles.load("nano")
    load = Load(str(tmp_path / "with.gguf"), nano.architecture, 256, 256, 64, "f32", 2048, threads=1)
    loaded = open_model(load)
    head = loaded.mtp
    assert head is not None
    ids = np.random.default_rng(count).integers(0, 8000, count + 1).astype(np.int32)
    head.show(Shown.ALL)
    loaded.context.sequence().feed(ids, Rows.NONE)
    states = head.shown(count + 1)
    head.clear(None, 1)
    assert head.feed(ids[1:], states[:-1])
    _, state = head.guess()
    loaded.close()
    with torch.no_grad():
        embedded = torch.from_numpy(embeddings()[ids[1:]])[None]
        expected = layer(embedded, torch.from_numpy(states[:-1])[None])[0, -1].numpy()
    # Attention rounds what flows through it to sixteen bits.
    assert np.abs(state[0] - expected).max() < 0.06 * expected.std()
    assert np.corrcoef(state[0], expected)[0, 1] > 0.9995


def embeddings() -> np.ndarray:
    """The bundled model's."""
    import gguf  # noqa: PLC0415

    tensor = next(t for t in gguf.GGUFReader(GGUF).tensors if t.name == "token_embd.weight")
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1, 256).astype(np.float32)
