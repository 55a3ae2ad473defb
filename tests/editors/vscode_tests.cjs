// Runs inside VS Code's extension host, against the server with the scripted engine: the `vscode` API only.
const vscode = require('vscode'), fs = require('node:fs');
const run = vscode.commands.executeCommand, sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const PARAMETERS = '(client, limit, message):\n    client.send(message';
/** What the repository can go on with; never the same text twice, for what was suggested for one is known. */
const beginning = () => `${REPEATED}def run${serial}${PARAMETERS.slice(0, -1)}`;
const REPEATED = Array.from({ length: 6 }, (_, n) => `def f${n}${PARAMETERS}, timeout=limit)\n\n\n`).join('');
const REST = ', timeout=limit)', SAID = ', urgent=True)';
const said = [];
let failed = 0, serial = 0, extension;

const claim = (name, holds, ...more) => {
  if (!holds) failed++;
  said.push(`${holds ? 'ok  ' : 'FAIL'} ${name}${holds ? '' : ' ' + JSON.stringify(more)}`);
};
async function eventually(holds, seconds = 10) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(50)) if (await holds()) return true;
  return false;
}
const ask = (method, params) => extension.exports.request(method, params);
const script = change => ask('test/script', change);
const requests = async () => (await ask('test/engine')).requests;
const set = (name, value) => vscode.workspace.getConfiguration('glm-lsp').update(name, value, vscode.ConfigurationTarget.Global);
const quiet = () => eventually(async () => { const { indexing, running } = await ask('glm-lsp/status'); return !indexing && !running.length; });

/** The file with this text, the caret at its end, and nothing suggested. */
async function opened(text, name = 'util.py') {
  serial++;
  const uri = vscode.Uri.joinPath(vscode.workspace.workspaceFolders[0].uri, name);
  const editor = await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { viewColumn: vscode.ViewColumn.One, preview: false });
  await run('editor.action.inlineSuggest.hide');
  const all = new vscode.Range(0, 0, editor.document.lineCount, 0);
  await editor.edit(edit => edit.replace(all, text));
  const end = editor.document.lineAt(editor.document.lineCount - 1).range.end;
  editor.selection = new vscode.Selection(end, end);
  await quiet();
  await run('editor.action.inlineSuggest.hide');
  return editor;
}
const type = text => run('type', { text });
const text = editor => editor.document.getText().replaceAll('\r\n', '\n');
/** Accept until the text is another one: ghost text is drawn some moments after the answer. */
async function accepts(editor, command, seconds = 10) {
  const before = text(editor);
  await eventually(async () => { await run(`editor.action.inlineSuggest.${command}`); return text(editor) !== before; }, seconds);
  return text(editor).slice(before.length);
}
const tabs = () => vscode.window.tabGroups.all.flatMap(group => group.tabs);
const diffs = () => tabs().filter(tab => tab.input instanceof vscode.TabInputTextDiff && tab.input.modified.scheme === 'glm-lsp');
const replacing = (old, fresh) => `=== file util.py\n<<<<<<< SEARCH\n${old}\n=======\n${fresh}\n>>>>>>> REPLACE\n=== end\n`;

const claims = {
  async 'a suggestion'() {
    await script({ typing: 'alpha' });
    const editor = await opened('');
    await type('a = ');
    claim('is taken', await accepts(editor, 'commit', 30) === 'alpha', text(editor), await ask('glm-lsp/status'));
  },

  async 'a suggestion of several lines, part by part'() {
    await script({ typing: '\n    width, height = box\n    return width * height' });
    const editor = await opened(''), before = await requests();
    await type('def area(box):');
    claim('the engine is asked while typing', await eventually(async () => await requests() > before && (await ask('test/engine')).live === 0));
    let asked = await requests();
    for (let last = -1; last !== asked; asked = await requests()) { // the last keystroke's request may still be on its way
      last = asked;
      await sleep(1500);
    }
    for (const end of ['\n    ', '\n    width', '\n    width, ']) {
      await accepts(editor, 'acceptNextWord');
      claim(`word by word: ${JSON.stringify(end)}`, text(editor) === `def area(box):${end}`, text(editor));
      await sleep(700);
    }
    claim('the rest of the line', / = box(\n *)?$/.test((await accepts(editor, 'acceptNextLine'), text(editor))), text(editor));
    await sleep(700);
    claim('nothing is asked of the engine again', await requests() === asked, asked, await requests());
    await accepts(editor, 'commit');
    claim('and all that is left', text(editor) === 'def area(box):\n    width, height = box\n    return width * height', text(editor));
  },

  async 'the engine is slow: the repository answers'() {
    await script({ typing: SAID, held: true });
    let said;
    for (let tries = 0; said !== REST && tries < 5; tries++) { // what stands near a file is read when it is first worked on
      const editor = await opened(beginning());
      await type('e');
      await sleep(1000);
      said = await accepts(editor, 'commit', 2);
    }
    claim('the rest of the line is shown', said === REST, said);
    await script({ held: false });
  },

  async 'the engine answers after the repository has'() {
    await script({ typing: SAID, held: true });
    const editor = await opened(beginning()), before = await requests(), { invoked } = await ask('test/asked');
    await type('e');
    await eventually(async () => await requests() > before);
    await sleep(1500);
    await script({ held: false });
    await eventually(async () => (await ask('test/engine')).live === 0);
    await sleep(1500);
    claim('what it says takes the place of what was shown', await accepts(editor, 'commit') === SAID, text(editor).slice(-60));
    claim('and is asked for once', (await ask('test/asked')).invoked === invoked + 1, invoked, await ask('test/asked'));
  },

  async 'the caret has gone elsewhere when the engine answers'() {
    await script({ typing: SAID, held: true });
    const editor = await opened(beginning()), before = await requests();
    await type('e');
    await eventually(async () => await requests() > before);
    await sleep(1000);
    editor.selection = new vscode.Selection(0, 3, 0, 3);
    await run('editor.action.inlineSuggest.hide');
    const { invoked } = await ask('test/asked');
    await script({ held: false });
    await eventually(async () => (await ask('test/engine')).live === 0);
    await sleep(1000);
    claim('it is not asked again', (await ask('test/asked')).invoked === invoked, invoked);
  },

  async 'typing on'() {
    await script({ typing: SAID, held: true });
    const editor = await opened('# nothing like it\n'), { cancelled } = await ask('test/engine');
    await type('value = compute(');
    await eventually(async () => (await ask('test/engine')).live === 1);
    await type('elsewhere)');
    claim('ends what the engine writes for what was there before',
      await eventually(async () => (await ask('test/engine')).cancelled > cancelled), await ask('test/engine'));
    await script({ held: false });
    await eventually(async () => (await ask('test/engine')).live === 0);
    claim('and leaves what was typed', text(editor) === '# nothing like it\nvalue = compute(elsewhere)', text(editor));
  },

  async 'the engine fails'() {
    await script({ typing: 'alpha', fail: 'No credit: top up.' });
    let editor = await opened('');
    await type('p = ');
    const status = () => ask('glm-lsp/status');
    claim('the status says so', await eventually(async () => (await status()).problem === 'No credit: top up.'), await status());
    await script({ fail: '' });
    editor = await opened('');
    await type('q = ');
    claim('the next request is served', await accepts(editor, 'commit') === 'alpha', text(editor));
    claim('and the status is as before', await eventually(async () => (await status()).state === 'ready'), await status());
  },

  async 'the engine dies'() {
    await script({ typing: 'alpha', dies: 'The engine died: out of memory.' });
    const editor = await opened('');
    await type('r = ');
    claim('what was asked for comes all the same', await accepts(editor, 'commit') === 'alpha', text(editor));
  },

  async 'switches'() {
    await script({ typing: 'alpha' });
    const silent = async name => {
      const editor = await opened(''), before = await requests();
      await type('x = ');
      await sleep(1200);
      claim(`${name}: nothing is asked while typing`, await requests() === before);
      return editor;
    };
    await set('trigger', 'manual');
    let editor = await silent('by hand');
    await run('glm-lsp.suggest');
    claim('by hand: asked, it suggests', await accepts(editor, 'commit') === 'alpha', text(editor));
    await set('trigger', undefined);
    await set('completion.enabled', false);
    await silent('a setting of the server');
    await set('completion.enabled', undefined);
    await run('glm-lsp.snooze', 5);
    await silent('snoozed');
    await run('glm-lsp.resume');
    await run('glm-lsp.toggleLanguage');
    editor = await silent('off for the language');
    await run('glm-lsp.suggest');
    claim('off for the language: also when asked', await accepts(editor, 'commit', 1) === '', text(editor));
    await run('glm-lsp.toggleLanguage');
    editor = await opened('');
    await type('y = ');
    claim('on again', await accepts(editor, 'commit') === 'alpha', text(editor));
  },

  async 'an explanation'() {
    await script({ other: 'It *adds*. ![x](https://example.org/?secret) <img src="https://example.org">' });
    const editor = await opened('def add(a, b):\n    return a + b\n');
    editor.selection = new vscode.Selection(0, 0, 1, 16);
    await run('glm-lsp.explainSelection');
    const shown = () => tabs().find(tab => tab.input instanceof vscode.TabInputWebview && tab.input.viewType.includes('markdown.preview'));
    claim('opens as a preview beside the code', await eventually(shown), tabs().map(tab => tab.label));
    let source = '';
    for (let n = 1; n < 20 && !source.includes('adds'); n++) {
      source = (await vscode.workspace.openTextDocument(vscode.Uri.parse(`glm-lsp:/${n}/Explanation.md`))).getText();
    }
    claim('is what the engine said', source.includes('It *adds*.'), source);
    claim('and fetches nothing', !source.includes('![') && !source.includes('<img'), source);
    if (shown()) await vscode.window.tabGroups.close(shown());
  },

  async 'what an engine writes, as VS Code renders it'() {
    const { harmless } = require(`${process.env.EXTENSION}/dist/test/rules.js`);
    const parts = ['![x](https://example.org/?secret)', '![x][a]', '[x](command:evil)', '[a]: https://example.org', '<img src=https://example.org>',
      '<svg onload=x>', '<!--', '-->', '<style>', '`', '``', '```', '```mermaid', '```math', '~~~', '$$', '$', '\\(', '\\[', ':::', ':::mermaid', '\\',
      '\n', '\n\n', '\n    ', '\n> ', '\n- ', '\n1. ', '\t', '# ', '| a | b |\n|---|---|\n', '&lt;img src=x&gt;', '&#60;img src=x>', 'A@{ img: "https://example.org" }',
      '\u00a0', 'text', '---\n', '***', '^[x](https://example.org)', '[^1]', '[^1]: ![x](y)', '@import "x"', '{{x}}', '\r'];
    let seed = 7;
    const random = below => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 2147483648 * below); };
    const allowed = /^<\/?(p|h[1-6]|ul|ol|li|em|strong|code|pre|span|div|blockquote|hr|table|thead|tbody|tr|th|td|br)\b/;
    const bad = [];
    let rendered = 0;
    for (let round = 0; round < 600; round++) {
      const source = Array.from({ length: 1 + random(14) }, () => parts[random(parts.length)]).join('');
      const html = await run('markdown.api.render', `# Title\n\n${harmless(source)}\n`);
      rendered += html.includes('Title');
      const plain = html.replace(/<a href="[^"]*" data-href="[^"]*">https?:[^<]*<\/a>/g, ''); // what is an address is shown as one
      const tags = plain.match(/<[^>]*>?/g) ?? [];
      if (tags.some(tag => !allowed.test(tag) || /\s(src|href|on\w+|style)\s*=/.test(tag)) || /class="[^"]*(mermaid|katex)/.test(plain)) bad.push([source, html]);
    }
    claim('is text, emphasis, lists and code', rendered === 600 && !bad.length, rendered, bad.length, bad.slice(0, 3));
    const raw = await run('markdown.api.render', parts[0]);
    claim('which it would not be by itself', raw.includes('<img'), raw);
  },

  async 'an edit that replaces code'() {
    const before = 'def add(a, b):\n    return a + b\n', after = 'def add(a, b):\n    return sum((a, b))\n';
    await script({ other: replacing('    return a + b', '    return sum((a, b))') });
    const refactor = async () => {
      const editor = await opened(before);
      const argument = { uri: editor.document.uri.toString(), range: { start: { line: 0, character: 0 }, end: { line: 1, character: 16 } }, instruction: 'use sum' };
      const outcome = run('glm-lsp.refactor', argument);
      claim('is shown as a difference', await eventually(() => diffs().length === 1), tabs().map(tab => tab.label));
      return [editor, outcome];
    };
    let [editor, outcome] = await refactor();
    const proposed = await vscode.workspace.openTextDocument(diffs()[0].input.modified);
    claim('with the text as it would be', proposed.getText() === after && text(editor) === before, proposed.getText());
    claim('applied by Ctrl+Enter', (await outcome)?.status === 'applied' && text(editor) === after && !diffs().length, await outcome, text(editor));
    [editor, outcome] = await refactor();
    claim('discarded by Escape', (await outcome)?.status === 'cancelled' && text(editor) === before && !diffs().length, await outcome, text(editor));
    [editor, outcome] = await refactor();
    await run('glm-lsp.discardPreview');
    claim('discarded by the button', (await outcome)?.status === 'cancelled' && text(editor) === before && !diffs().length, await outcome, text(editor));
    [editor, outcome] = await refactor();
    await vscode.window.tabGroups.close(diffs());
    claim('closed is discarded', (await outcome)?.status === 'cancelled' && text(editor) === before, await outcome);
    [editor, outcome] = await refactor();
    const change = new vscode.WorkspaceEdit();
    change.insert(editor.document.uri, new vscode.Position(0, 0), '# new\n');
    await vscode.workspace.applyEdit(change);
    await run('glm-lsp.applyPreview');
    claim('on a text that has moved on, nothing is changed', (await outcome)?.status === 'conflict' && text(editor) === '# new\n' + before, await outcome, text(editor));
  },

  async 'an edit that only adds'() {
    await script({ docstring: 'Add two numbers and return the sum.' });
    const editor = await opened('def add(a, b):\n    return a + b\n');
    const actions = await run('vscode.executeCodeActionProvider', editor.document.uri, new vscode.Range(0, 0, 0, 0));
    const command = actions.find(action => action.title === 'Document add')?.command;
    claim('is offered', command, actions.map(action => action.title));
    await run(command.command, ...command.arguments);
    claim('is made at once', /def add\(a, b\):\n {4}"""Add two numbers and return the sum\."""\n/.test(text(editor)), text(editor));
  },

  async 'commands on what is selected'() {
    await script({ typing: 'return a + b', docstring: 'Add two numbers and return the sum.' });
    let editor = await opened('def add(a, b):\n    return a + b\n');
    editor.selection = new vscode.Selection(0, 5, 0, 5);
    await run('glm-lsp.document');
    claim('document', text(editor).includes('"""Add two numbers and return the sum."""'), text(editor));
    editor = await opened('def add(a, b):\n');
    await run('glm-lsp.continueHere');
    claim('continue', text(editor).includes('return a + b'), text(editor));
  },

  async 'the server dies'() {
    const { pid } = await ask('test/process');
    process.kill(pid, 'SIGKILL');
    claim('it is started again', await eventually(async () => { try { return (await ask('test/process')).pid !== pid; } catch { return false; } }, 30));
    await run('glm-lsp.restart');
    claim('it can be restarted', (await ask('test/process')).pid !== pid);
    await script({ typing: 'omega' });
    const editor = await opened('');
    await type('x = ');
    claim('and suggests', await accepts(editor, 'commit') === 'omega', text(editor));
  },
};

exports.run = async function () {
  extension = vscode.extensions.getExtension('glm-lsp.glm-lsp');
  await extension.activate();
  const only = process.env.ONLY ?? '';
  for (const [name, holds] of Object.entries(claims).filter(([name]) => name.includes(only))) {
    said.push(name);
    try { await holds(); } catch (error) { claim(String(error.stack), false); }
    fs.writeFileSync(process.env.REPORT, said.join('\n') + '\n');
  }
  if (failed) throw new Error(`${failed} failed`);
};
