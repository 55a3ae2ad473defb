// vscode_host.mjs URL FOLDER SHOTS: open the workbench with the extension in EXTENSION and run TESTS inside its
// extension host. They write REPORT, which is printed.
import { existsSync, readFileSync } from 'node:fs';
import { open } from './vscode_page.mjs';
const [url, folder, shots] = process.argv.slice(2), { EXTENSION, TESTS, REPORT } = process.env;
const { page, claim, end } = await open(shots, () => existsSync(REPORT) ? readFileSync(REPORT, 'utf8') : 'no report');
let code;
await page.exposeFunction('codeAutomationLog', () => {});
await page.exposeFunction('codeAutomationExit', said => { code = said; });
const remote = path => `vscode-remote://${new URL(url).host}${path}`;
const payload = [['extensionDevelopmentPath', remote(EXTENSION)], ['extensionTestsPath', remote(TESTS)], ['skipWelcome', 'true']];
await page.goto(`${url}/?folder=${folder}&payload=${encodeURIComponent(JSON.stringify(payload))}`);
// Somebody who looks at two proposed edits, applies the first, and discards the second; the tests wait for it.
const keys = ['Control+Enter', 'Escape'];
const watching = (async () => {
  const apply = page.locator('.editor-actions [aria-label^="Apply"]').first(), there = () => apply.isVisible().catch(() => false);
  for (const key of keys) {
    while (!await there()) { if (code !== undefined) return; await page.waitForTimeout(200); }
    await page.waitForTimeout(1000);
    await page.screenshot({ path: `${shots}/preview.png` }).catch(() => {});
    await page.keyboard.press(key);
    while (await there() && code === undefined) await page.waitForTimeout(200);
  }
})();
await claim('the tests within the extension host come to their end', () => code !== undefined, 240);
if (existsSync(REPORT)) console.log(readFileSync(REPORT, 'utf8'));
await watching;
await claim('and hold', () => code === 0, 1);
await end();
