"""How a token is chosen, and which grammars and schemas are let in."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.errors import UsageError
from glm_lsp.engines.worker import gbnf
from glm_lsp.engines.worker.sampling import Chooser, near_tie

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
logits_of = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30).map(
    lambda values: np.asarray(values, np.float32)
)
samplers = st.tuples(
    st.sampled_from([0.0, 0.3, 1.0, 2.0]), st.sampled_from([1.0, 0.9, 0.5]), st.integers(0, 99)
)


class Odd:
    """Permits the odd tokens."""

    def permits(self, token: int) -> bool:
        return token % 2 == 1

    def mask(self, logits: np.ndarray) -> np.ndarray:
        masked = logits.copy()
        masked[::2] = -np.inf
        return masked


NOBODY = np.zeros(0, np.int32)


class TestStreams:
    """A token's choice depends on the seed, its number and its logits, on nothing else."""

    @given(st.lists(logits_of, min_size=1, max_size=6), samplers)
    def test_the_same_again(self, rows: list[np.ndarray], sampler: tuple[float, float, int]) -> None:
        first, second = Chooser(*sampler), Chooser(*sampler)
        assert [first.choose(row) for row in rows] == [second.choose(row) for row in rows]

    @given(logits_of, logits_of, samplers)
    def test_what_was_chosen_before_has_no_part_in_it(
        self, one: np.ndarray, other: np.ndarray, sampler: tuple[float, float, int]
    ) -> None:
        """Not even whether a grammar had to be asked twice."""
        plain, ruled = Chooser(*sampler), Chooser(*sampler)
        plain.choose(one)
        ruled.within(other, Odd(), NOBODY)
        assert plain.choose(one) == ruled.choose(one)

    def test_seeds_and_numbers_differ(self) -> None:
        flat = np.zeros(10_000, np.float32)
        chooser = Chooser(1.0, 1.0, 1)
        drawn = {chooser.choose(flat) for _ in range(50)} | {Chooser(1.0, 1.0, 2).choose(flat)}
        assert len(drawn) > 45

    @pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8)])
    def test_draws_are_distributed_as_the_weights_are(self, temperature: float, top_p: float) -> None:
        """Under rules as if everything else had been masked first."""
        logits = np.asarray([2.0, 1.5, 1.0, 0.5, 0.0, -1.0], np.float32)
        counts = np.zeros(6)
        chooser = Chooser(temperature, top_p, 7)
        for _ in range(4000):
            counts[chooser.within(logits, Odd(), NOBODY)] += 1
        weights = np.exp(np.where(np.arange(6) % 2 == 1, logits, -np.inf) / temperature)
        weights /= weights.sum()
        order = np.argsort(-weights)
        kept = order[: int(np.searchsorted(weights[order].cumsum(), top_p)) + 1]
        expected = np.zeros(6)
        expected[kept] = weights[kept] / weights[kept].sum()
        assert np.abs(counts / 4000 - expected).max() < 0.03

    @given(logits_of, samplers)
    def test_only_what_is_permitted(self, logits: np.ndarray, sampler: tuple[float, float, int]) -> None:
        assert Chooser(*sampler).within(logits, Odd(), NOBODY) % 2 == 1

    def test_where_nothing_is_permitted_a_sentence(self) -> None:
        with pytest.raises(UsageError, match="no text can follow"):
            Chooser().within(np.zeros(2, np.float32), Odd(), np.asarray([1], np.int32))

    @pytest.mark.parametrize(
        ("temperature", "top_p"), [(-1, 1), (11, 1), (0, 0), (0, 1.1), (float("nan"), 1)]
    )
    def test_settings_out_of_range(self, temperature: float, top_p: float) -> None:
        with pytest.raises(UsageError, match="Sampling needs"):
            Chooser(temperature, top_p)


class TestTies:
    def test_near_and_far(self) -> None:
        logits = np.asarray([0.0, 1.0, 0.96, -3.0], np.float32)
        assert near_tie(logits, 1, 0.05)
        assert not near_tie(logits, 1, 0.03)
        assert not near_tie(logits, 2, 0.05)


GRAMMARS = {
    "a loop": "root ::= [ -~\\n] root",
    "repetitions": 'root ::= "a"{2,5} ("b" | c)* "x" c{3} c{1,} # said\nc ::= [0-9]\n',
    "escapes": 'root ::= "\\"" [^"\\\\\\n\\x41\\u0042\\U00000043]{1,80} "\\"" [a\\]-]',
    "spaces that may be empty": 'ws ::= [ \\t]*\nroot ::= ws "x" ws* "y"',
    "nothing": 'root ::= ""',
    "lines in parentheses": 'root ::= ("a"\n  | "b" # two\n  | "c")\n\n',
}
BOMBS = {
    "parentheses": ("root ::= " + "(" * 10_000 + '"a"' + ")" * 10_000, "parentheses within each other"),
    "shared rules": (
        "\n".join(f"r{i} ::= r{i + 1} | r{i + 1}" for i in range(60)) + '\nr60 ::= "a"\nroot ::= r0',
        "too many ways to begin",
    ),
    "a chain": ("\n".join(f"r{i} ::= r{i + 1}" for i in range(3000)) + '\nr3000 ::= "a"\nroot ::= r0', "too"),
    "falling counts": ('root ::= "a"{5,3}', "a count that rises"),
    "large counts": ('root ::= "a"{99999999999}', "a count that rises"),
    "counts of counts": ('root ::= "' + "a" * 90_000 + '"{2000}', "too large"),
    "left recursion": ('root ::= root "a" | "b"', "left-recursive"),
    "hidden left recursion": ('root ::= b root "x" | "y"\nb ::= c\nc ::= "" | "z"', "left-recursive"),
    "the same text twice": ('root ::= ("a" | "a")*', "too ambiguous"),
    "stacks without end": (
        'root ::= s\ns ::= "a" s p | "a" s q | "a"\np ::= "p"\nq ::= "q"',
        "too ambiguous",
    ),
    "ways that double": ("root ::= a*\na ::= . .+ | [^x] a | [a-z]", "too ambiguous"),
    "an unknown rule": ("root ::= a", "names a rule 'a'"),
    "no root": ('r ::= "a"', "no rule 'root'"),
    "empty": ("", "no rule 'root'"),
    "a token by number": ("root ::= <[3]>", "line 1 needs text"),
    "an open literal": ('\nroot ::= "abc', "line 2 needs a literal"),
    "an empty class": ("root ::= []", "a literal or a class"),
    "an unknown escape": ('root ::= "\\q"', "known escapes"),
    "nothing to repeat": ("root ::= *", "something to repeat"),
    "repeated twice": ('root ::= "a"**', "something to repeat"),
    "a zero": ('root ::= "a\0"', "number 0"),
    "half a character": ('root ::= "\ud800"', "surrogate"),
    "size": ('root ::= "' + "a" * gbnf.LONGEST_TEXT + '"', "at most"),
}
OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
    "required": ["a"],
}
SCHEMAS = {
    "an object": OBJECT,
    "a list": {"type": "array", "items": OBJECT, "minItems": 1, "maxItems": 4},
    "choices": {"enum": ["red", "green", 3, None]},
    "a pattern": {"type": "string", "pattern": "^[a-z]{1,12}$"},
    "references": {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}, "$defs": {"n": OBJECT}},
    "itself": {
        "type": "object",
        "properties": {"c": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "object", "properties": {"d": {"$ref": "#/$defs/n"}}}},
    },
}
BAD_SCHEMAS = {
    "no JSON": ("{", "is not JSON"),
    "no object": ("[]", "is not an object"),
    "depth": ("[" * 50_000, "nested too deeply"),
    "less depth": ('{"items":' * 100 + "{}" + "}" * 100, "nested more than"),
    "a loop": ('{"$ref":"#"}', "cannot be used"),
    "two that name each other": (
        '{"type":"array","items":{"$ref":"#/$defs/a"},'
        '"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}',
        "cannot be used|left-recursive",
    ),
    "the network": ('{"$ref":"https://example.com/x.json"}', "cannot be used"),
    "an unknown type": ('{"type":"wat"}', "cannot be used"),
    "nowhere": ('{"$ref":"#/$defs/zz"}', "cannot be used"),
    "choices without end": (json.dumps({"enum": [f"v{n}" for n in range(6000)]}), "values"),
    "choices that are none": ('{"enum":5}', "cannot be used"),
    "properties": (
        json.dumps({"type": "object", "properties": {f"p{n}": {} for n in range(900)}}),
        "over 100",
    ),
    "length": ('{"type":"string","minLength":100000000}', "add up"),
    "items": ('{"type":"array","items":{},"minItems":1000000000}', "add up"),
    "a negative count": ('{"type":"string","minLength":-1}', "no count"),
    "a count that is a float": ('{"type":"string","minLength":1e9}', "no count"),
    "a long pattern": ('{"type":"string","pattern":"^a{99999}$"}', "add up"),
    "a broken pattern": ('{"type":"string","pattern":"^*$"}', "cannot be used"),
    "size": (json.dumps({"const": "x" * gbnf.LONGEST_TEXT}), "at most"),
}


class TestGrammars:
    @pytest.mark.parametrize("name", GRAMMARS)
    def test_let_in(self, name: str) -> None:
        gbnf.check(GRAMMARS[name])

    @pytest.mark.parametrize("name", BOMBS)
    def test_refused_with_a_sentence(self, name: str) -> None:
        text, said = BOMBS[name]
        with pytest.raises(UsageError, match=said) as caught:
            gbnf.check(text)
        assert len(str(caught.value)) < 300

    @given(st.text('root:=abc "[]()|*+?{}0123456789,\\-^.#\n<!', max_size=60))
    def test_any_text_is_let_in_or_refused(self, text: str) -> None:
        with contextlib.suppress(UsageError):
            gbnf.check("root ::= " + text)


class TestSchemas:
    """With llama.cpp's own converter."""

    pytestmark = pytest.mark.embedded

    @pytest.fixture(autouse=True)
    def converter(self) -> Iterator[None]:
        pytest.importorskip("llama_cpp.llama_grammar", reason="llama-cpp-python is not installed")
        yield

    @pytest.mark.parametrize("name", SCHEMAS)
    def test_let_in(self, name: str) -> None:
        assert "root ::=" in gbnf.of_schema(json.dumps(SCHEMAS[name]))

    @pytest.mark.parametrize("name", BAD_SCHEMAS)
    def test_refused_with_a_sentence(self, name: str) -> None:
        text, said = BAD_SCHEMAS[name]
        with pytest.raises(UsageError, match=said) as caught:
            gbnf.of_schema(text)
        assert len(str(caught.value)) < 400


PROBE = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1])))
from models import load_of
from glm_lsp.engines.worker.grammar import Grammar
from glm_lsp.engines.worker.loading import open_model
from glm_lsp.core.errors import UsageError
import random
opened = open_model(load_of(), lambda _: None)
rng = random.Random(int(sys.argv[2]))
def item(deep):
    kinds = ['a', 'b', '"x"', '""', '[a-c]', '.', '"yes"', '[^\\n]'] + (['('] if deep < 3 else [])
    kind = rng.choice(kinds)
    text = '(' + side(deep + 1) + ')' if kind == '(' else kind
    return text + rng.choice(['', '', '', '*', '+', '?', '{2}', '{0,3}', '{2,}'])
def side(deep=0):
    alternates = [[item(deep) for _ in range(rng.randrange(1, 4))] for _ in range(rng.randrange(1, 3))]
    return ' | '.join(' '.join(items) for items in alternates)
taken = 0
for _ in range(300):
    try:
        grammar = Grammar(opened.model, f'root ::= {side()}\\na ::= {side()}\\nb ::= {side()}')
    except UsageError:
        continue
    taken += 1
    for token in rng.sample(range(1, 8000), 60):
        if grammar.permits(token):
            grammar.accept(token)
    grammar.close()
print(taken)
"""


@pytest.mark.embedded
@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_grammar_is_let_in_does_not_end_the_process(seed: int) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from models import ENVIRONMENT  # noqa: PLC0415

    command = [sys.executable, "-c", PROBE, str(Path(__file__).parent), str(seed)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-1500:]
    assert int(done.stdout) > 20
