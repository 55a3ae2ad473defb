import * as assert from 'node:assert/strict';
import { test } from 'node:test';
import { asks, bar, edited, harmless, kept, lines, put, recent, same, shows, sibling, Switches, variable, wanted } from '../src/rules';

const NONE: Switches = { languages: {}, manual: false, snoozedUntil: 0 };
const BY_HAND = true, TYPING = false;

test('a place is the same while neither the text nor the caret has moved', () => {
  const place = { uri: 'file:///a', version: 3, line: 1, character: 2 };
  assert.ok(same(place, { ...place }));
  for (const other of [{ uri: 'file:///b' }, { version: 4 }, { line: 2 }, { character: 3 }]) {
    assert.ok(!same(place, { ...place, ...other }), JSON.stringify(other));
  }
  assert.ok(!same(undefined, place) && !same(place, undefined) && !same(undefined, undefined));
});

test('a language is off where it is named so, or where all are and it is not named', () => {
  assert.ok(wanted({}, 'python'));
  assert.ok(wanted({ '*': false, python: true }, 'python'));
  assert.ok(!wanted({ '*': false, python: true }, 'go'));
  assert.ok(!wanted({ '*': true, python: false }, 'python'));
});

test('the switches, by who asks', () => {
  const cases: [Partial<Switches>, boolean, boolean][] = [
    [{}, true, true],
    [{ manual: true }, false, true],
    [{ snoozedUntil: 11 }, false, true],
    [{ snoozedUntil: 10 }, true, true],
    [{ languages: { python: false } }, false, false],
    [{ languages: { python: false }, manual: true }, false, false],
  ];
  for (const [some, typing, byHand] of cases) {
    const switches = { ...NONE, ...some };
    assert.equal(asks(switches, 'python', TYPING, 10), typing, JSON.stringify(some));
    assert.equal(asks(switches, 'python', BY_HAND, 10), byHand, JSON.stringify(some));
  }
});

test('edits are made at their places, in order where two insert at one', () => {
  assert.equal(edited('abcdef', [{ start: 4, end: 5, text: 'E' }, { start: 0, end: 1, text: '' }]), 'bcdEf');
  assert.equal(edited('ab', [{ start: 1, end: 1, text: 'x' }, { start: 1, end: 1, text: 'y' }]), 'axyb');
  assert.equal(edited('', []), '');
});

test('what replaces is shown first, what only adds is not, unless the user wants it otherwise', () => {
  const adds = [{ start: 1, end: 1, text: 'x' }], replaces = [...adds, { start: 2, end: 3, text: '' }];
  assert.deepEqual(['replacements', 'always', 'never'].map(mode => shows(mode, adds)), [false, true, false]);
  assert.deepEqual(['replacements', 'always', 'never'].map(mode => shows(mode, replaces)), [true, true, false]);
});

test('an explanation keeps its headings, lists, emphasis and code', () => {
  const text = '# Why\n\n- it *adds* `a < b`\n\n```python\nx = [1] # <b>\n```\nend';
  assert.equal(harmless(text),
    '# Why\n\n- it *adds* <code>a &#60; b</code>\n\n\n~~~python\nx = [1] # <b>\n~~~\n\nend');
});

test('an explanation fetches nothing, links nowhere and draws nothing', () => {
  const hostile = [
    '![x](https://example.org/?secret)', '<img src=https://example.org>', '[a]: https://example.org', '![x][a]',
    '`` ` ``<img src=x>', '\\`<img src=x>\\`', '$$\n```\n$$\n![x](https://example.org)', ':::mermaid\nA@{ img: "https://example.org" }',
    '~~~\n~~~\n<img src=x>', '    ```\n<img src=x>', '> ```\n<img src=x>', '- ```\n![x](https://example.org)', '&lt;img src=x&gt;',
  ];
  for (const text of hostile) {
    const blocks = harmless(text).split(/^~~~+\w*$/m), outside = blocks.filter((_, index) => index % 2 === 0).join('');
    assert.doesNotMatch(outside.replace(/<code>[\w &#;]*<\/code>/g, ''), /[<[\]`$~]|:::|&(?!#\d+;)/, text);
  }
});

test('a diagram or a formula is shown as its source', () => {
  assert.equal(harmless('```mermaid\nA --> B\n```'), '\n~~~\nA --> B\n~~~\n');
  assert.equal(harmless('```math\n\\includegraphics{x}\n```'), '\n~~~\n\\includegraphics{x}\n~~~\n');
});

test('a code block ends where we say and nowhere else', () => {
  const shown = harmless('````\n```\n~~~~~\n````\nafter');
  assert.equal(shown, '\n~~~~~~\n```\n~~~~~\n~~~~~~\n\nafter');
  assert.equal(harmless('```\nnever closed'), '\n~~~\nnever closed\n~~~');
});

test('the status in lines: engine, speed, reuse, queue', () => {
  const last = { cached_tokens: 950, evaluated_tokens: 50, output_tokens: 30, decode_seconds: 2 };
  const jobs = [{ client: 'editor', state: 'writing' }, { client: 'refactor', state: 'waiting' }];
  assert.deepEqual(lines({ engine: 'embedded', model: 'nano', local: true, files: 7, last, jobs }), [
    'Engine: nano, embedded', 'Speed: 15.0 tokens/s', 'Reuse: 95 % of 1000 prompt tokens', 'Queue: 1 at work, 1 waiting', 'Index: 7 files']);
  assert.equal(lines({ engine: 'embedded', model: 'nano', last, speed: { prefill: 812.4, decode: 31.25 } })[1], 'Speed: 31.3 tokens/s, reading 812');
  assert.deepEqual(lines({ engine: 'remote', model: 'glm-5.2', local: false, last: {} }), ['Engine: glm-5.2, remote (not on this machine)', 'Index: 0 files']);
  assert.deepEqual(lines({ engine: null, problem: 'Install it.' }), ['Engine: none', 'Install it.', 'Index: 0 files']);
});

test('the bar says the most pressing thing', () => {
  const text = (state: string | undefined, some: Partial<Switches> = {}, more = {}): string =>
    bar(state === undefined ? undefined : { state, ...more }, { ...NONE, ...some }, 'python', 0).text;
  assert.equal(text(undefined), '$(warning) GLM');
  assert.equal(text('missing', { snoozedUntil: 1 }), '$(warning) GLM');
  assert.equal(text('ready', { snoozedUntil: 61_000 }), '$(bell-slash) GLM 2 min');
  assert.equal(text('ready', { languages: { python: false }, snoozedUntil: 1 }), '$(circle-slash) GLM');
  assert.equal(text('loading', {}, { loading: 0.419 }), '$(loading~spin) GLM 41 %');
  assert.equal(text('working'), '$(loading~spin) GLM');
  assert.equal(text('ready', { manual: true }), '$(sparkle) GLM by hand');
  assert.equal(text('ready'), '$(sparkle) GLM');
});

test('settings by the names that the server knows', () => {
  assert.equal(variable('glm-lsp.remote.context_tokens'), 'GLM_LSP_REMOTE_CONTEXT_TOKENS');
  const table = {};
  put(table, 'completion.echo', false);
  put(table, 'completion.popup', 'never');
  assert.deepEqual(table, { completion: { echo: false, popup: 'never' } });
});

test('another command of the same program, where it is ours', () => {
  assert.deepEqual(sibling(['/v/bin/glm-lsp', 'serve'], 'cache', 'show'), ['/v/bin/glm-lsp', 'cache', 'show']);
  assert.deepEqual(sibling(['python', '-m', 'glm_lsp', 'serve', '--stdio'], 'cache'), ['python', '-m', 'glm_lsp', 'cache']);
  assert.equal(sibling(['serve'], 'cache'), undefined);
  assert.equal(sibling(['/opt/wrapper.sh'], 'cache'), undefined);
});

test('Python from 3.11 on', () => {
  assert.deepEqual(['3.11\n', '3.14', '3.10', '2.7', '4.0', ''].map(recent), [true, true, false, false, false, false]);
});

test('what the cache holds, in lines', () => {
  const caches = [{ kind: 'kv', path: '/c/kv', files: 4, bytes: 6803932, problem: '' }, { kind: 'index', path: '/c/i', files: 1, bytes: 10, problem: 'not ours' }];
  assert.deepEqual(kept(JSON.stringify({ directory: '/c', caches })), ['In /c:', 'kv: 4 files, 6.8 MB', 'index: not ours']);
  for (const other of ['', 'usage: …', '{}', 'null', '[]']) assert.equal(kept(other), undefined, other);
});
