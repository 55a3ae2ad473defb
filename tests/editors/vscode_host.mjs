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
let buttons = false;
const watching = setInterval(async () => {
  const apply = page.locator('.editor-actions').getByText('Apply', { exact: true }).first();
  if (buttons || !await apply.isVisible().catch(() => false)) return;
  buttons = true;
  await page.screenshot({ path: `${shots}/preview.png` }).catch(() => {});
}, 100);
await claim('the tests within the extension host come to their end', () => code !== undefined, 240);
if (existsSync(REPORT)) console.log(readFileSync(REPORT, 'utf8'));
clearInterval(watching);
await claim('a proposed edit has its buttons', () => buttons, 1);
await claim('and hold', () => code === 0, 1);
await end();
