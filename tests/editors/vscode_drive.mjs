// vscode_drive.mjs URL FOLDER SHOTS: use the workbench at URL as a person would, in headless Chromium.
// Prints a line per claim and "N passed, M failed"; leaves screenshots in SHOTS. PLAYWRIGHT: where playwright-core is.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
const { chromium } = createRequire(process.env.PLAYWRIGHT + '/')('playwright-core');
const [url, folder, shots] = process.argv.slice(2);
const file = `${folder}/inventory.py`;
const disk = () => readFileSync(file, 'utf8');
const before = disk();
let passed = 0, failed = 0;

const browser = await chromium.launchPersistentContext(process.env.CHROME_DATA, {
  executablePath: '/usr/bin/chromium', headless: true, viewport: { width: 1180, height: 720 },
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const page = browser.pages()[0];
page.setDefaultNavigationTimeout(180_000);

async function claim(name, holds, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  let ok = false, why = '';
  while (!ok && Date.now() < end) {
    try { ok = Boolean(await holds()); } catch (error) { why = String(error).split('\n')[0]; }
    if (!ok) await page.waitForTimeout(150);
  }
  if (ok) passed++; else { failed++; await explainFailure(); }
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}${ok ? '' : ' ' + why + ' ' + JSON.stringify(disk())}`);
  return ok;
}
// What VS Code itself has to say stands in its notification centre.
async function explainFailure() {
  await page.screenshot({ path: `${shots}/failed-${failed}.png` });
  await page.locator('.part.statusbar #status\\.notifications, .part.statusbar [id*="notifications"]').first().click().catch(() => {});
  await page.waitForTimeout(500);
  console.log((await page.locator('.notifications-center').innerText().catch(() => '')).replaceAll('\n', ' '));
  await page.keyboard.press('Escape');
}
const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
const type = text => page.keyboard.type(text, { delay: 60 });
const ghost = () => page.locator('.ghost-text-decoration, .ghost-text').first();

await page.goto(`${url}/?folder=${folder}`);
await claim('the workbench opens', () => page.locator('.monaco-workbench .part.editor').isVisible(), 90);
await claim('the file is in the explorer', async () => {
  await page.getByRole('treeitem', { name: 'inventory.py' }).dblclick({ timeout: 10000 });
  return true;
}, 90);
await claim('the file opens', () => page.locator('.editor-instance .view-lines').isVisible(), 30);
await page.locator('.editor-instance .view-lines').click();
await claim('the server starts', async () => (await page.locator('.part.statusbar').innerText()).includes('glm-lsp'), 60);
await page.waitForTimeout(3000);

// A small model has nothing to say at some places: ask at several.
let shown = false;
for (const typed of ['x = os.path.jo', 'if not os.path.ex', 'for path in join_names(', 'return su']) {
  await press('Control+End', 'Enter');
  await type(typed);
  for (let i = 0; i < 60 && !shown; i++) { shown = await ghost().isVisible().catch(() => false); if (!shown) await page.waitForTimeout(150); }
  if (shown) break;
  await press('Escape');
}
await claim('ghost text appears while typing', () => shown, 1);
await page.screenshot({ path: `${shots}/ghost.png` });
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
await page.screenshot({ path: `${shots}/actions.png` });
await page.locator('.action-widget').getByText(/Document count_lines/).first().click();
await claim('the docstring stands in the file', async () => { await press('Control+s'); return /def count_lines\(path\):\n {4}"""[A-Z].*\."""\n/.test(disk()); }, 60);
await page.screenshot({ path: `${shots}/docstring.png` });
await press('Control+z', 'Control+s');
await claim('undo takes it back', async () => { await press('Control+s'); return !/count_lines\(path\):\n {4}"""/.test(disk()); });

await press('F1');
await type('GLM: Show Engine');
await press('Enter');
await claim('the status names the model', () => page.getByText(/indexed/).first().isVisible(), 20);
console.log(`${passed} passed, ${failed} failed`);
await browser.close();
process.exit(failed ? 1 : 0);
