// vscode_drive.mjs URL FOLDER SHOTS: use the workbench at URL as a person would. Leaves screenshots in SHOTS, in
// light and dark.
import { readFileSync } from 'node:fs';
import { open } from './vscode_page.mjs';
const [url, folder, shots] = process.argv.slice(2);
const file = `${folder}/inventory.py`;
const disk = () => readFileSync(file, 'utf8');
const before = disk();
const { page, claim, end, press, type, ghost, bar } = await open(shots, () => JSON.stringify(disk()));

async function shot(name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(1500); // it fades
    await page.screenshot({ path: `${shots}/${name}-${colorScheme}.png`, scale: 'css' });
  }
}

await page.goto(`${url}/?folder=${folder}`);
await claim('the workbench opens', () => page.locator('.monaco-workbench .part.editor').isVisible(), 90);
await claim('the file is in the explorer', async () => {
  await page.getByRole('treeitem', { name: 'inventory.py' }).dblclick({ timeout: 10000 });
  return true;
}, 90);
await claim('the file opens', () => page.locator('.editor-instance .view-lines').isVisible(), 30);
await page.locator('.editor-instance .view-lines').click();
await claim('the server starts', async () => /^GLM/.test((await bar().innerText()).trim()), 60);
await claim('what it shows is no warning', async () => !/warning/.test(await bar().getAttribute('class')), 30);
await page.waitForTimeout(3000);

// A small model has nothing to say at some places: ask at several.
let shown = false, known = '';
for (const typed of ['x = os.path.jo', 'if not os.path.ex', 'for path in join_names(', 'return su']) {
  await press('Control+End', 'Enter');
  await type(typed);
  for (let i = 0; i < 60 && !shown; i++) { shown = await ghost().isVisible().catch(() => false); if (!shown) await page.waitForTimeout(150); }
  if (shown) { known = typed; break; }
  await press('Escape', 'Control+Shift+K', 'Backspace');
}
await claim('ghost text appears while typing', () => shown, 1);
await shot('ghost');
const line = disk().length;
await press('Tab', 'Control+s');
await claim('Tab accepts it', () => disk().length > line);
await claim('undo takes it all back', async () => {
  await press('Control+z', 'Control+s');
  return disk() === before;
}, 60);

await press('Control+g');
await type('11:8');
await press('Enter');
await claim('the code actions offer a docstring', async () => {
  await press('Escape', 'Control+.');
  await page.waitForTimeout(1500);
  return page.locator('.action-widget').getByText(/Document count_lines/).first().isVisible();
}, 60);
await page.locator('.action-widget').getByText(/Document count_lines/).first().click();
await claim('the docstring stands in the file', async () => { await press('Control+s'); return /def count_lines\(path\):\n {4}"""[A-Z].*\."""\n/.test(disk()); }, 60);
await press('Control+z', 'Control+s');
await claim('undo takes it back', async () => { await press('Control+s'); return !/count_lines\(path\):\n {4}"""/.test(disk()); });

const menu = () => page.locator('.quick-input-widget');
await bar().click();
await claim('the menu tells engine, speed, reuse and the index', async () => {
  const text = await menu().innerText();
  return /Engine: nano, embedded/.test(text) && /Speed: [\d.]+ tokens\/s/.test(text) && /Reuse: \d+ %/.test(text) && /Index: 2 files/.test(text);
}, 20);
await shot('menu');
/** Choose from the menu as one does who types: a part of the label, then Enter. */
async function choose(part, label = part) {
  for (let tries = 3; ; tries -= 1) {
    if (!await menu().isVisible()) await bar().click();
    try {
      await menu().getByText('Engine: nano').waitFor({ timeout: 5000 });
      await menu().locator('input').first().fill(part);
      await menu().getByText(label).first().waitFor({ timeout: 5000 });
      break;
    } catch (error) { // what opens beside it may take the focus
      if (!tries) throw error;
      await press('Escape');
    }
  }
  await press('Enter');
}
await choose('Snooze for 15');
await claim('snoozed, it says so', async () => /15 min/.test(await bar().innerText()));
await page.locator('.editor-instance .view-lines').first().click();
await press('Control+End', 'Enter');
await type(known);
await page.waitForTimeout(1500);
await claim('and suggests nothing', async () => !await ghost().isVisible(), 1);
await press('Alt+Backslash');
await claim('but to who asks', () => ghost().isVisible());
await press('Escape');
await claim('what was typed is taken back', async () => { await press('Control+z', 'Control+s'); return disk() === before; });
await choose('Resume');
await claim('resumed, it does not', async () => !/min/.test(await bar().innerText()));
await choose('Clear cache');
const dialog = () => page.locator('.monaco-dialog-box');
await claim('before the cache is cleared, it is shown', () => dialog().getByText(/index: \d+ files/).first().isVisible(), 30);
await dialog().getByRole('button', { name: 'Clear' }).click();
await claim('then it is cleared', () => page.getByText(/index: removed/).first().isVisible(), 30);
await choose('Get started');
await claim('the walkthrough opens', () => page.getByText('Take a suggestion').first().isVisible());
await choose('Open log');
await claim('the log opens', () => page.locator('.part.panel').isVisible());
await end();
